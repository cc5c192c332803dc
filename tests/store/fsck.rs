//! What a check finds, and how it names it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use konserve_fs::backend::{Deadline, Precondition};
use konserve_fs::store::{
    ConnectOptions, CreateOptions, Finding, Location, Report, Store, Watcher, check, repair,
};
use konserve_fs::tree::{Entry, Time, links};
use konserve_fs::value::{Key, KeyPath, Value, edn};

/// What a check tells of.
#[derive(Default)]
pub(super) struct Told {
    findings: Vec<Finding>,
    /// The check is told to end after so many bytes.
    patience: Option<u64>,
}

impl Watcher for Told {
    fn read(&mut self, bytes: u64) -> bool {
        let Some(left) = &mut self.patience else {
            return true;
        };
        *left = left.saturating_sub(bytes);
        *left > 0
    }

    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn v(text: &str) -> Value {
    edn::parse(text).unwrap()
}

pub(super) fn store(dir: &tempfile::TempDir) -> Store {
    let location = Location::Embedded(dir.path().join("s"));
    Store::create(&location, &CreateOptions::default()).unwrap()
}

pub(super) fn checked(store: &Store) -> (Report, Vec<Finding>) {
    let mut told = Told::default();
    let report = store.check(&mut told).unwrap();
    (report, told.findings)
}

/// The check of a store once nobody uses it.
pub(super) fn released(store: Store) -> (Report, Vec<Finding>) {
    let location = store.location().clone();
    store.release().unwrap();
    let mut told = Told::default();
    let report = check(&location, None, &mut told).unwrap();
    (report, told.findings)
}

/// The addresses of all pages.
fn pages(store: &Store) -> Vec<Vec<u8>> {
    store.settle().unwrap();
    let backend = store.pager().backend();
    backend.list(b"p", None, usize::MAX, soon()).unwrap()
}

/// The page that comes with what `change` does.
pub(super) fn new_page(store: &Store, change: impl FnOnce()) -> Vec<u8> {
    let before = pages(store);
    change();
    let mut new = pages(store);
    new.retain(|page| !before.contains(page));
    assert_eq!(new.len(), 1);
    new.remove(0)
}

fn overwrite(store: &Store, address: &[u8], bytes: &[u8]) {
    let backend = store.pager().backend();
    backend
        .put(address, bytes, Precondition::Any, soon())
        .unwrap();
}

pub(super) fn spoil(store: &Store, address: &[u8]) {
    let blob = store.pager().backend().get(address, soon()).unwrap();
    let mut bytes = blob.unwrap().bytes;
    *bytes.last_mut().unwrap() ^= 1;
    overwrite(store, address, &bytes);
}

pub(super) fn long(what: &str) -> Value {
    Value::Text(format!("{what} ").repeat(200))
}

fn path(text: &str) -> Vec<Key> {
    match v(text) {
        Value::Vector(items) => items.iter().map(Key::new).collect(),
        other => panic!("no path: {other:?}"),
    }
}

#[test]
fn a_store_without_damage_is_clean_in_use_and_not() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let leaves: String = (0..3000).map(|n| format!("{n} {{:v {n}}} ")).collect();
    s.assoc(&Key::text("map"), &v(&format!("{{{leaves}}}")))
        .unwrap();
    s.assoc(&Key::text("text"), &long("text")).unwrap();
    let bytes = Value::Bytes(vec![7; 1_000_000]);
    s.assoc(&Key::text("bytes"), &bytes).unwrap();
    s.assoc(&Key::text("v"), &v("[1 [2 [3]] #{4}]")).unwrap();
    s.settle().unwrap();
    s.assoc(&Key::text("in the journal"), &long("unfolded"))
        .unwrap();
    let (report, findings) = checked(&s);
    assert_eq!(findings, []);
    assert!(report.complete && report.records >= 4 && report.pages > 50);
    let (report, findings) = released(s);
    assert_eq!(findings, []);
    assert!(report.complete && report.records >= 5 && report.pages > 50);
}

#[test]
fn a_damaged_page_is_named_by_key_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    s.assoc(&Key::text("a"), &v("{:b [1 2 3]}")).unwrap();
    let page = new_page(&s, || {
        s.assoc_in(&path("[\"a\" :b 3]"), &long("x")).unwrap();
    });
    spoil(&s, &page);
    for (report, findings) in [checked(&s), released(s)] {
        assert_eq!(report.damaged, 1);
        assert_eq!(findings[0].path, path("[\"a\" :b 3]"));
        assert_eq!(findings[0].in_vector, [false, false, true]);
        let hex: String = page[1..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(findings[0].what, format!("page {hex}"));
        assert!(findings[0].reason.contains("checksum"), "{findings:?}");
    }
}

#[test]
fn a_page_that_two_keys_share_is_reported_for_both() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let shared = format!("{{:m {{:n {{:t {}}}}}}}", edn::print(&long("shared")));
    let page = new_page(&s, || s.assoc(&Key::text("a"), &v(&shared)).unwrap());
    s.assoc(&Key::text("b"), &v(&shared)).unwrap();
    s.settle().unwrap();
    spoil(&s, &page);
    let (_, findings) = released(s);
    let paths: Vec<_> = findings.into_iter().map(|finding| finding.path).collect();
    let expected = ["[\"a\" :m :n :t]", "[\"b\" :m :n :t]"].map(path);
    assert_eq!(paths, expected);
}

#[test]
fn a_page_with_a_good_checksum_and_another_content_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let page = new_page(&s, || s.assoc(&Key::text("a"), &long("right")).unwrap());
    let Value::Text(other) = long("wrong") else {
        panic!("no text");
    };
    let address = page[1..].try_into().unwrap();
    let sealed = s.pager().seal(&address, 1, other.as_bytes()).unwrap();
    overwrite(&s, &page, &sealed);
    let (report, findings) = released(s);
    assert_eq!(report.damaged, 1);
    assert_eq!(findings[0].path, path("[\"a\"]"));
    assert!(findings[0].reason.contains("another page"), "{findings:?}");
}

#[test]
fn a_missing_page_and_a_damaged_record_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let page = new_page(&s, || s.assoc(&Key::text("a"), &long("x")).unwrap());
    s.assoc(&v(":b").into_key(), &v("1")).unwrap();
    s.settle().unwrap();
    let backend = s.pager().backend();
    backend.delete(&page, Precondition::Any, soon()).unwrap();
    let records = backend.list(b"r", None, usize::MAX, soon()).unwrap();
    spoil(&s, records.last().unwrap());
    let (_, findings) = released(s);
    let told: Vec<_> = findings
        .iter()
        .map(|f| (f.path.clone(), f.what.starts_with("page"), &*f.reason))
        .collect();
    assert_eq!(told[0], (path("[\"a\"]"), true, "missing"));
    assert_eq!((&told[1].0, told[1].1), (&path("[:b]"), false));
    assert_eq!(told.len(), 2);
}

/// A value as a key.
trait IntoKey {
    fn into_key(self) -> Key;
}

impl IntoKey for Value {
    fn into_key(self) -> Key {
        Key::new(&self)
    }
}

#[test]
fn what_nothing_refers_to_is_counted_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let page = new_page(&s, || s.assoc(&Key::text("a"), &long("old")).unwrap());
    s.assoc(&Key::text("a"), &long("new")).unwrap();
    s.settle().unwrap();
    spoil(&s, &page);
    let (report, findings) = released(s);
    assert_eq!(findings, []);
    assert_eq!((report.garbage, report.damaged), (1, 0));
    assert!(report.garbage_bytes > 0);
}

#[test]
fn foreign_blobs_and_files_are_told_of_without_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    s.assoc(&Key::text("a"), &v("1")).unwrap();
    overwrite(&s, b"something else", b"x");
    s.settle().unwrap();
    std::fs::write(dir.path().join("s/journal/notes.txt"), "x").unwrap();
    let (report, findings) = released(s);
    let told: Vec<_> = findings.iter().map(|f| (&*f.what, f.harmless)).collect();
    let expected = [("journal/notes.txt", true), ("blob something else", true)];
    assert_eq!(told, expected);
    assert_eq!((report.odd, report.damaged), (2, 0));
}

#[test]
fn a_check_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    s.assoc(&Key::text("a"), &Value::Bytes(vec![7; 2_000_000]))
        .unwrap();
    s.settle().unwrap();
    let mut told = Told {
        patience: Some(100_000),
        ..Told::default()
    };
    let report = s.check(&mut told).unwrap();
    assert!(!report.complete && report.bytes < 5_000_000, "{report:?}");
}

#[test]
fn a_check_beside_writers_finds_nothing_where_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let leaves: String = (0..500).map(|n| format!("{n} \"leaf {n}\" ")).collect();
    for key in 0..5 {
        let key = Key::text(&format!("map{key}"));
        s.assoc(&key, &v(&format!("{{{leaves}}}"))).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fast = s.unsynced();
            let mut n = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let path = [
                    Key::text(&format!("map{}", n % 5)),
                    Key::new(&Value::Int(n)),
                ];
                fast.assoc_in(&path, &long(&format!("{n}"))).unwrap();
                if n % 50 == 0 {
                    fast.fold_now().unwrap();
                }
                let gone = [path[0].clone(), Key::new(&Value::Int(n - 40))];
                fast.dissoc_in(&gone).unwrap();
            }
        });
        for _ in 0..10 {
            let (report, findings) = checked(&s);
            assert_eq!(findings, []);
            assert!(report.complete);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Repairs a store; gives it open again, with what was taken out and where that is.
pub(super) fn repaired(s: Store) -> (Store, Vec<Vec<Key>>, std::path::PathBuf) {
    let location = s.location().clone();
    s.release().unwrap();
    let done = repair(&location, None, None).unwrap();
    assert_eq!(done.left, []);
    let cuts = done.cuts.into_iter().map(|cut| cut.path).collect();
    let store = Store::connect(&location, &ConnectOptions::default()).unwrap();
    (store, cuts, done.aside.unwrap())
}

#[test]
fn a_repair_takes_out_what_is_damaged_and_keeps_it_aside() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let leaves: String = (0..500).map(|n| format!("{n} \"leaf {n}\" ")).collect();
    s.assoc(&Key::text("a"), &v(&format!("{{:m {{{leaves}}} :n 1}}")))
        .unwrap();
    s.assoc(&Key::text("b"), &v("[1 2]")).unwrap();
    let page = new_page(&s, || {
        s.assoc_in(&path("[\"b\" 2]"), &long("x")).unwrap();
    });
    s.assoc(&Key::text("c"), &v("{}")).unwrap();
    s.settle().unwrap();
    spoil(&s, &page);
    let (s, cuts, aside) = repaired(s);
    assert_eq!(cuts, [path("[\"b\" 2]")]);
    assert_eq!(s.get(&Key::text("b")).unwrap(), Some(v("[1 2]")));
    assert_eq!(s.get(&Key::text("c")).unwrap(), Some(v("{}")));
    let a = s.get_in(&path("[\"a\" :m 499]")).unwrap();
    assert_eq!(a, Some(v("\"leaf 499\"")));
    let hex: String = page.iter().map(|b| format!("{b:02x}")).collect();
    assert!(aside.join("blobs").join(hex).exists());
    s.assoc_in(&path("[\"b\" 2]"), &long("x")).unwrap();
    let (_, findings) = released(s);
    assert_eq!(findings, []);
}

#[test]
fn of_a_large_directory_only_the_damaged_page_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let leaves: String = (0..3000).map(|n| format!("{n} \"leaf {n}\" ")).collect();
    s.assoc(&Key::text("a"), &v(&format!("{{{leaves}}}")))
        .unwrap();
    s.assoc(&Key::text("dir"), &v("{:d {}}")).unwrap();
    // A run of leaves: of the pages there are far more of them than of others.
    let all = pages(&s);
    let backend = s.pager().backend();
    let blob = |page: &Vec<u8>| backend.get(page, soon()).unwrap().unwrap().bytes.len();
    let smallest = all.iter().min_by_key(|page| blob(page)).unwrap();
    spoil(&s, smallest);
    let (s, cuts, _) = repaired(s);
    assert_eq!(cuts, [path("[\"a\"]")]);
    let Some(Value::Map(left)) = s.get(&Key::text("a")).unwrap() else {
        panic!("no map");
    };
    assert!((2800..3000).contains(&left.len()), "{}", left.len());
    assert_eq!(s.get(&Key::text("dir")).unwrap(), Some(v("{:d {}}")));
}

#[test]
fn a_repair_without_damage_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    s.assoc(&Key::text("a"), &long("a")).unwrap();
    let location = s.location().clone();
    s.release().unwrap();
    let done = repair(&location, None, None).unwrap();
    assert!(done.cuts.is_empty() && done.aside.is_none());
    assert!(!dir.path().join("s/quarantine").exists());
}

#[test]
fn a_document_that_is_nested_deep_is_checked_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(&dir);
    let mut deep = long("bottom");
    for level in 0..900 {
        let filler = format!("{{:next nil :n {level} :filler {:?}}}", "x".repeat(300));
        let Value::Map(mut map) = v(&filler) else {
            panic!("no map");
        };
        map.insert(Key::new(&v(":next")), deep);
        deep = Value::Map(map);
    }
    s.assoc(&Key::text("deep"), &deep).unwrap();
    let bottom = {
        let same = new_page_of(&s, &long("bottom"));
        spoil(&s, &same);
        same
    };
    assert_eq!(bottom.len(), 33);
    let (s, cuts, _) = repaired(s);
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].len(), 901);
    let (_, findings) = released(s);
    assert_eq!(findings, []);
}

/// The page that holds a text.
fn new_page_of(store: &Store, text: &Value) -> Vec<u8> {
    let Value::Text(text) = text else {
        panic!("no text");
    };
    store.settle().unwrap();
    let mut key = vec![b'p'];
    key.extend(store.pager().address(text.as_bytes()));
    key
}

/// Gives the file at `from` further names.
fn link(store: &Store, from: &str, names: &[&str]) {
    for to in names {
        store
            .transact(|tx| {
                let attrs = tx.find(&path(from))?.unwrap().entry.attrs();
                tx.link(&path(from), path(to).into(), attrs, 7, Time::now())
            })
            .unwrap();
    }
}

/// A store with a file of four names, two of them in one directory, and one without a fold since.
fn linked(dir: &tempfile::TempDir) -> Store {
    let s = store(dir);
    s.assoc(&Key::text("a"), &v("\"file\"")).unwrap();
    s.assoc(&Key::text("d"), &v("{}")).unwrap();
    s.assoc(&Key::text("e"), &v("{\"x\" {}}")).unwrap();
    link(&s, "[\"a\"]", &["[\"d\" \"b\"]", "[\"d\" \"c\"]"]);
    s.settle().unwrap();
    link(&s, "[\"a\"]", &["[\"e\" \"x\" \"y\"]"]);
    s
}

/// Changes the hidden document of linked files behind the back of those who count.
fn tamper(store: &Store, path: KeyPath, entry: Option<Entry>) {
    let done = store.transact(|tx| match &entry {
        Some(entry) => tx.put(path.clone(), entry.clone(), None),
        None => tx.remove(path.clone(), None),
    });
    done.unwrap();
}

#[test]
fn counted_names_of_linked_files_are_no_damage_folded_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let s = linked(&dir);
    assert_eq!(checked(&s).1, []);
    let (_, findings) = released(s);
    assert_eq!(findings, []);
    let location = Location::Embedded(dir.path().join("s"));
    let s = Store::connect(&location, &ConnectOptions::default()).unwrap();
    // The journal is ahead of the records.
    link(&s, "[\"a\"]", &["[\"f\"]"]);
    s.assoc(&Key::text("new"), &v("1")).unwrap();
    link(&s, "[\"new\"]", &["[\"g\"]"]);
    drop(s);
    let mut told = Told::default();
    let report = check(&location, None, &mut told).unwrap();
    assert!(report.journal > 0);
    assert_eq!(told.findings, []);
}

#[test]
fn wrong_counts_of_names_are_found_and_set_right() {
    let d = Key::text("d");
    let at = |place: KeyPath| KeyPath::from([place.to_vec(), vec![d.clone()]].concat());
    let (holders, names) = (at(links::holders(7)), at(links::names()));
    for (place, entry) in [
        (&holders, Some(links::count(1))),
        (&holders, None),
        (&names, Some(links::count(3))),
        (&names, None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let s = linked(&dir);
        tamper(&s, place.clone(), entry);
        s.settle().unwrap();
        let (report, findings) = checked(&s);
        assert_eq!(report.damaged, 1, "{findings:?}");
        assert!(
            findings[0].reason.contains("and there are 2"),
            "{findings:?}"
        );
        let (s, cuts, _) = repaired(s);
        assert_eq!(cuts.len(), 1);
        assert_eq!(checked(&s).1, []);
        // Exact, the file goes with its last name and not before.
        for name in ["[\"a\"]", "[\"d\" \"b\"]", "[\"e\"]"] {
            assert!(s.dissoc_in(&path(name)).unwrap());
            assert_eq!(
                s.get_in(&path("[\"d\" \"c\"]")).unwrap(),
                Some(v("\"file\""))
            );
        }
        assert!(s.dissoc_in(&path("[\"d\" \"c\"]")).unwrap());
        assert!(s.linked(7).unwrap().is_none());
        assert_eq!(released(s).1, []);
    }
}

#[test]
fn a_name_without_a_file_and_a_file_without_a_name_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let s = linked(&dir);
    let known = s.linked(7).unwrap().unwrap();
    tamper(&s, links::place(9), Some(links::empty()));
    tamper(&s, links::file(9), Some(known.entry));
    s.settle().unwrap();
    let (report, findings) = checked(&s);
    assert_eq!((report.damaged, report.odd), (0, 1), "{findings:?}");
    assert_eq!(findings[0].what, "the linked file 9");
    assert_eq!(findings[0].reason, "no name leads to it");
    tamper(&s, links::place(7), None);
    s.settle().unwrap();
    let (report, findings) = checked(&s);
    assert_eq!((report.damaged, report.odd), (1, 1), "{findings:?}");
    let dangling = findings.iter().find(|finding| !finding.harmless).unwrap();
    assert_eq!(dangling.what, "the linked file 7");
    assert_eq!(dangling.reason, "there is no such file");
}
