//! Documents without a mount: how many writes of the store a save is, and what it keeps.

use std::sync::Arc;

use konserve_fs::view::{Attr, Ino, Namespace, ROOT, SetAttr, ViewError};

use super::harness::{CALLER, Side, v};

/// The documents of a side.
struct Documents<'s> {
    side: &'s Side,
    all: Namespace,
}

impl<'s> Documents<'s> {
    fn of(side: &'s Side) -> Self {
        Self {
            side,
            all: Namespace::new(Arc::clone(&side.view)),
        }
    }

    fn look(&self, path: &str) -> Result<Attr, ViewError> {
        let mut attr = self.all.getattr(ROOT, None)?;
        for name in [".kfs"].into_iter().chain(path.split('/')) {
            attr = self.all.lookup(&CALLER, attr.ino, name.as_bytes())?;
        }
        Ok(attr)
    }

    #[track_caller]
    fn split<'p>(&self, path: &'p str) -> (Ino, &'p [u8]) {
        let (dir, name) = path.rsplit_once('/').unwrap();
        (self.look(dir).unwrap().ino, name.as_bytes())
    }

    fn open(&self, path: &str, flags: i32) -> u64 {
        match self.look(path) {
            Ok(attr) => self.all.open(&CALLER, attr.ino, flags).unwrap().fh,
            Err(_) => {
                let (dir, name) = self.split(path);
                let made = self.all.create(&CALLER, dir, name, 0o600, 0, flags);
                made.unwrap().1.fh
            }
        }
    }

    /// Writes a whole file as a shell does, and gives what its close gives.
    fn save(&self, path: &str, text: &str) -> Result<(), ViewError> {
        let fh = self.open(path, libc::O_WRONLY | libc::O_TRUNC);
        self.all.flush(fh).unwrap();
        self.write(fh, 0, text);
        let saved = self.all.flush(fh);
        let _ = self.all.release(fh);
        saved
    }

    fn write(&self, fh: u64, at: u64, text: &str) {
        let written = self.all.write(&CALLER, fh, at, text.as_bytes(), false);
        assert_eq!(written.unwrap() as usize, text.len());
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ViewError> {
        let ((a, from), (b, to)) = (self.split(from), self.split(to));
        self.all.rename(&CALLER, a, from, b, to, 0)
    }

    fn remove(&self, path: &str) -> Result<(), ViewError> {
        let (dir, name) = self.split(path);
        self.all.unlink(&CALLER, dir, name)
    }

    #[track_caller]
    fn read(&self, path: &str) -> String {
        let attr = self.look(path).unwrap();
        let fh = self.all.open(&CALLER, attr.ino, libc::O_RDONLY).unwrap().fh;
        let text = self.all.read(fh, 0, 1 << 20).unwrap();
        assert_eq!(attr.size, text.len() as u64, "the size is exact");
        self.all.release(fh).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// How many writes of the store something takes.
    fn writes(&self, what: impl FnOnce()) -> u64 {
        let before = self.side.store.last_seq();
        what();
        self.side.store.last_seq() - before
    }
}

#[track_caller]
fn is_invalid(result: Result<(), ViewError>) {
    assert!(
        matches!(result, Err(ViewError::Invalid { .. })),
        "{result:?}"
    );
}

#[test]
fn a_save_is_one_write_however_it_is_made() {
    let s = Side::new();
    s.assoc("x", r#"{"a" 1 "b" {"c" 2}}"#);
    let d = Documents::of(&s);
    let text = |n: u32| format!("{{\"a\": {n}, \"b\": {{\"c\": {n}}}, \"new\": {{}}}}");
    let value = |n: u32| v(&format!(r#"{{"a" {n} "b" {{"c" {n}}} "new" {{}}}}"#));

    let in_place = || d.save("json/x.json", &text(3)).unwrap();
    assert_eq!(d.writes(in_place), 1);
    assert_eq!(s.get("x"), Some(value(3)));

    let over = || {
        d.save("json/sedX", &text(4)).unwrap();
        d.rename("json/sedX", "json/x.json").unwrap();
    };
    assert_eq!(d.writes(over), 1);
    assert_eq!(s.get("x"), Some(value(4)));

    // As vim does by default.
    let backup = || {
        d.rename("json/x.json", "json/x.json~").unwrap();
        d.save("json/x.json", &text(5)).unwrap();
        d.remove("json/x.json~").unwrap();
    };
    assert_eq!(d.writes(backup), 1);
    assert_eq!(s.get("x"), Some(value(5)));

    // As `jq … > tmp.json && mv tmp.json x.json`: the new document, then one step.
    d.save("json/tmp.json", &text(6)).unwrap();
    let document = || d.rename("json/tmp.json", "json/x.json").unwrap();
    assert_eq!(d.writes(document), 1);
    assert_eq!((s.get("x"), s.get("tmp")), (Some(value(6)), None));

    let new = || d.save("json/x/b/n.json", "[1]").unwrap();
    assert_eq!(d.writes(new), 1);
    assert_eq!(s.get("x/b"), Some(v(r#"{"c" 6 "n" [1]}"#)));

    let parts = || {
        let fh = d.open("edn/x.edn", libc::O_WRONLY | libc::O_TRUNC);
        d.write(fh, 0, "[1 ");
        d.write(fh, 3, "2]");
        d.all.fsync(fh, false).unwrap();
        d.all.flush(fh).unwrap();
        d.all.flush(fh).unwrap();
        d.all.release(fh).unwrap();
    };
    assert_eq!(d.writes(parts), 1);
    assert_eq!(s.get("x"), Some(v("[1 2]")));
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let s = Side::new();
    s.assoc("x", r#"{:a 1.0 "b" [1 nil #{:k}] "n" 9007199254740993}"#);
    let d = Documents::of(&s);
    let nothing = || {
        for (path, name) in [("json/x.json", "json/t"), ("edn/x.edn", "edn/t")] {
            let text = d.read(path);
            d.save(path, &text).unwrap();
            d.save(name, &text).unwrap();
            d.rename(name, path).unwrap();
            // Set aside and brought back.
            d.rename(path, name).unwrap();
            assert!(d.look(path).is_err());
            d.rename(name, path).unwrap();
            assert_eq!(d.read(path), text);
        }
        // Opened and closed, also for writing.
        let fh = d.open("json/x.json", libc::O_RDWR);
        d.all.flush(fh).unwrap();
        d.all.release(fh).unwrap();
        // What a program with doubles makes of it.
        let text = d.read("json/x.json").replace("1.0", "1");
        d.save("json/x.json", &text.replace("740993", "740992"))
            .unwrap();
    };
    assert_eq!(d.writes(nothing), 0);
}

#[test]
fn a_text_that_is_refused_changes_nothing() {
    let s = Side::new();
    s.assoc("x", r#"{"a" 1}"#);
    let d = Documents::of(&s);
    let error = |path: &str| {
        let ino = d.look(path).unwrap().ino;
        let got = d.all.getxattr(&CALLER, ino, b"user.kfs.error");
        got.ok().map(|text| String::from_utf8(text).unwrap())
    };
    let refused = || {
        is_invalid(d.save("json/x.json", "{\"a\": 1,\n \"b\": }"));
        assert_eq!(d.read("json/x.json"), "{\n  \"a\": 1\n}\n");
        let said = error("json/x.json").unwrap();
        assert!(
            said.starts_with("not valid JSON: line 2, column 7: "),
            "{said}"
        );
        assert_eq!(d.read("last-error"), format!(".kfs/json/x.json: {said}\n"));

        d.save("json/t", "(1").unwrap();
        is_invalid(d.rename("json/t", "json/x.json"));
        assert_eq!(d.read("json/t"), "(1");

        let fh = d.open("edn/x.edn", libc::O_WRONLY | libc::O_TRUNC);
        d.write(fh, 0, "{1}");
        is_invalid(d.all.fsync(fh, false));
        is_invalid(d.all.flush(fh));
        is_invalid(d.all.release(fh));

        // Emptied and left so.
        let fh = d.open("json/x.json", libc::O_WRONLY | libc::O_TRUNC);
        d.all.flush(fh).unwrap();
        is_invalid(d.all.release(fh));
        assert!(error("json/x.json").unwrap().contains("line 1, column 1"));

        // A name that is new keeps the text, to be mended.
        is_invalid(d.save("json/new.json", "[1"));
        assert_eq!(d.read("json/new.json"), "[1");
        assert!(error("json/new.json").is_some());

        // Where no value can be.
        let ino = d.look("json").unwrap().ino;
        for name in [&b"..json"[..], b".kfs.json"] {
            let made = d.all.create(&CALLER, ino, name, 0o600, 0, libc::O_WRONLY);
            assert!(made.is_err());
        }
    };
    assert_eq!(d.writes(refused), 0);
    assert_eq!(s.get("x"), Some(v(r#"{"a" 1}"#)));
    d.save("json/new.json", "[1]").unwrap();
    assert_eq!(s.get("new"), Some(v("[1]")));
    assert_eq!(error("json/new.json"), None);
    d.save("json/x.json", "1").unwrap();
    assert_eq!(error("json/x.json"), None);
}

#[test]
fn what_does_not_differ_keeps_its_declared_type_and_times() {
    let s = Side::new();
    s.assoc("x", r#"{"a" 1 "text" 2 "k" :k}"#);
    // Text for now, of the type of an integer.
    s.put("x/text", "two\n");
    let before = ["x/text", "x/k"].map(|path| s.attr(path));
    let kept = || {
        assert_eq!(["x/text", "x/k"].map(|path| s.attr(path)), before);
        let ino = s.ino("x/text");
        let declared = s.view.getxattr(&CALLER, ino, b"user.kfs.type").unwrap();
        assert_eq!(declared, b"int");
    };
    let d = Documents::of(&s);
    let text = d.read("json/x.json");
    d.save("json/x.json", &text.replace(": 1", ": 10")).unwrap();
    assert_eq!(s.get("x/a"), Some(v("10")));
    kept();
    // Of what is saved itself the value is the type.
    d.save("json/x/text.json", "\"three\"").unwrap();
    let ino = s.ino("x/text");
    assert!(s.view.listxattr(&CALLER, ino).unwrap().is_empty());
}

#[test]
fn a_document_set_aside_goes_with_its_file() {
    let s = Side::new();
    s.assoc("x", "1");
    s.assoc("y", "2");
    let d = Documents::of(&s);
    d.rename("json/x.json", "json/x.bak").unwrap();
    assert_eq!(s.get("x"), Some(v("1")), "the value stays for now");
    assert!(d.look("json/x.json").is_err());
    assert_eq!(d.read("json/x.bak"), "1\n");
    // Under another notation it is what it was.
    assert_eq!(d.read("edn/x.edn"), "1\n");
    d.remove("json/x.bak").unwrap();
    assert_eq!(s.get("x"), None);

    d.rename("json/y.json", "json/t").unwrap();
    d.rename("json/t", "json/t2").unwrap();
    d.rename("json/t2", "json/z.json").unwrap();
    assert_eq!((s.get("y"), s.get("z")), (None, Some(v("2"))));
    // Replaced by another file, it has no text any more.
    d.rename("json/z.json", "json/t").unwrap();
    d.save("json/other", "x").unwrap();
    d.rename("json/other", "json/t").unwrap();
    assert_eq!(s.get("z"), None);
    assert_eq!(d.read("json/t"), "x");
}

#[test]
fn of_two_who_write_the_later_save_stands() {
    let s = Side::new();
    s.assoc("x", r#"{"a" 1}"#);
    let d = Documents::of(&s);
    let reader = d.open("json/x.json", libc::O_RDONLY);
    let first = d.open("json/x.json", libc::O_WRONLY | libc::O_TRUNC);
    let second = d.open("json/x.json", libc::O_RDWR);
    d.write(first, 0, r#"{"a": 2, "b": 1}"#);
    d.write(second, 0, r#"{"a": 3}      "#);
    s.assoc("x/c", "9");
    d.all.flush(second).unwrap();
    assert_eq!(s.get("x"), Some(v(r#"{"a" 3}"#)));
    d.all.flush(first).unwrap();
    assert_eq!(s.get("x"), Some(v(r#"{"a" 2 "b" 1}"#)));
    let text = d.all.read(reader, 0, 100).unwrap();
    assert_eq!(
        text, b"{\n  \"a\": 1\n}\n",
        "who reads keeps what was opened"
    );
    for fh in [reader, first, second] {
        d.all.release(fh).unwrap();
    }
    assert_eq!(d.read("json/x.json"), "{\n  \"a\": 2,\n  \"b\": 1\n}\n");
}

#[test]
fn a_handle_cuts_and_appends_in_its_own_text() {
    let s = Side::new();
    s.assoc("x", "[1 2]");
    let d = Documents::of(&s);
    let fh = d.open("edn/x.edn", libc::O_RDWR);
    d.write(fh, 0, "[3]");
    let cut = SetAttr {
        size: Some(3),
        fh: Some(fh),
        ..SetAttr::default()
    };
    let ino = d.look("edn/x.edn").unwrap().ino;
    assert_eq!(d.all.setattr(&CALLER, ino, &cut).unwrap().size, 3);
    d.all.flush(fh).unwrap();
    d.all.release(fh).unwrap();
    assert_eq!(s.get("x"), Some(v("[3]")));
    let fh = d.open("edn/x.edn", libc::O_WRONLY | libc::O_APPEND);
    d.write(fh, 0, "; a comment\n");
    d.all.flush(fh).unwrap();
    d.all.release(fh).unwrap();
    assert_eq!(s.get("x"), Some(v("[3]")));
    // By path there is nothing to cut.
    let by_path = SetAttr { fh: None, ..cut };
    let done = d.all.setattr(&CALLER, ino, &by_path);
    assert!(matches!(done, Err(ViewError::Invalid { .. })), "{done:?}");
}

#[test]
fn the_kernels_references_and_handles_are_let_go() {
    let s = Side::new();
    s.assoc("x", r#"{"a" [1 2]}"#);
    let d = Documents::of(&s);
    d.save("json/t", "x").unwrap();
    let dir = d.look("json/x").unwrap().ino;
    let fh = d.all.opendir(&CALLER, dir).unwrap();
    let mut seen = vec![];
    d.all
        .readdir(fh, 0, true, &mut |item| {
            seen.extend(item.attr.map(|attr| attr.ino));
            false
        })
        .unwrap();
    d.all.releasedir(fh).unwrap();
    assert_eq!(seen.len(), 2);
    for ino in seen {
        d.all.getattr(ino, None).unwrap();
        d.all.forget(ino, 1);
        assert!(matches!(
            d.all.getattr(ino, None),
            Err(ViewError::Stale { .. })
        ));
    }
    assert!(d.all.read(fh, 0, 1).is_err());
}
