//! Damaged storage is never returned as data.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use konserve_fs::store::FORMAT;

use crate::engine;
use crate::harness::{Mount, Output, Sandbox, edn};
use crate::random::{Random, number, seed};
use crate::table::{Exit, Table};

/// The files of a store with something in them.
fn engine_files(store: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut todo = vec![store.to_owned()];
    while let Some(dir) = todo.pop() {
        for item in fs::read_dir(dir).unwrap() {
            let (path, meta) = (
                item.as_ref().unwrap().path(),
                item.unwrap().metadata().unwrap(),
            );
            if meta.is_dir() {
                todo.push(path);
            } else if meta.is_file() && meta.len() > 0 {
                found.push((path, meta.len()));
            }
        }
    }
    found.sort();
    found
}

/// What a walk over a mount found for each path: the content, or that it could not be read.
type Seen = BTreeMap<PathBuf, Result<Vec<u8>, i32>>;

fn look(dir: &Path, below: &Path, seen: &mut Seen) {
    let list = match fs::read_dir(dir.join(below)) {
        Ok(list) => list,
        Err(error) => {
            seen.insert(below.to_owned(), Err(error.raw_os_error().unwrap_or(0)));
            return;
        }
    };
    for item in list {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                seen.insert(below.to_owned(), Err(error.raw_os_error().unwrap_or(0)));
                return;
            }
        };
        let path = below.join(item.file_name());
        match fs::symlink_metadata(dir.join(&path)) {
            Ok(meta) if meta.is_dir() => look(dir, &path, seen),
            _ => {
                let content = fs::read(dir.join(&path));
                seen.insert(
                    path,
                    content.map_err(|error| error.raw_os_error().unwrap_or(0)),
                );
            }
        }
    }
}

/// Whether a path, or a directory that it is in, was refused with an error.
fn refused(seen: &Seen, path: &Path) -> bool {
    path.ancestors()
        .any(|above| matches!(seen.get(above), Some(Err(_))))
}

/// A store of about 2 MB with everything in it that can be damaged, folded and closed.
fn store() -> (Mount, Seen) {
    let m = Mount::new();
    let leaves: String = (0..3000)
        .map(|n| format!("{n} {{:v \"value {n}\"}} "))
        .collect();
    m.put("doc", &format!("{{{leaves}}}"));
    for number in 0..40 {
        m.put(
            format!("small{number}"),
            &format!("{{:n {number} :s \"text {number}\"}}"),
        );
    }
    let mut random = Random::new(5);
    for number in 0..6 {
        m.write(format!("large{number}"), random.bytes(200_000));
    }
    m.sh("mkdir d; for n in $(seq 100); do echo content $n > d/f$n; done; sync .");
    m.remount();
    let mut seen = Seen::new();
    look(m.dir(), Path::new(""), &mut seen);
    assert!(seen.values().all(Result::is_ok));
    m.umount();
    (m, seen)
}

/// What came of one damage.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything is right: the byte was in no use.
    Harmless,
    /// The store was refused as a whole.
    NotMounted,
    /// Some reads failed with `EIO`, all others were right.
    Refused,
    /// What is shown is wrong.
    Wrong(String),
}

/// Mounts a damaged copy, reads everything and judges.
fn judge(m: &Mount, right: &Seen) -> Outcome {
    let output = m.try_mount();
    if output.code != 0 {
        let says = output.errors();
        if says.contains("panicked") || output.code > 100 {
            return Outcome::Wrong(format!("did not fail in an orderly way: {output}"));
        }
        return Outcome::NotMounted;
    }
    m.adopt();
    let mut seen = Seen::new();
    look(m.dir(), Path::new(""), &mut seen);
    let unmount = m.sandbox.kfs(["umount".as_ref(), m.dir().as_os_str()]);
    if unmount.code != 0 {
        return Outcome::Wrong(format!("cannot be unmounted: {unmount}"));
    }
    let mut harm = Outcome::Harmless;
    for (path, content) in right {
        match seen.get(path) {
            Some(got) if got == content => {}
            Some(Err(libc::EIO)) => harm = Outcome::Refused,
            Some(Err(errno)) => return Outcome::Wrong(format!("{path:?}: errno {errno}")),
            Some(Ok(_)) => return Outcome::Wrong(format!("{path:?} has another content")),
            None if refused(&seen, path) => harm = Outcome::Refused,
            None => {
                return Outcome::Wrong(format!("{path:?} is missing, and nothing was reported"));
            }
        }
    }
    match seen
        .iter()
        .find(|(path, got)| got.is_ok() && !right.contains_key(*path))
    {
        Some((path, _)) => Outcome::Wrong(format!("{path:?} is from nowhere")),
        None => harm,
    }
}

/// Damages copies of a store one by one with `damage`, which says what it did.
fn damage_copies(times: usize, mut damage: impl FnMut(&Path, &mut Random) -> Option<String>) {
    let (original, right) = store();
    let mut random = Random::new(seed());
    let mut totals = BTreeMap::new();
    let mut wrong = Vec::new();
    for _ in 0..times {
        let sandbox = Sandbox::new();
        let from = original.store().display();
        sandbox
            .sh_in(Path::new("/"), &format!("cp -a '{from}' \"$T/store\""))
            .ok();
        let copy = sandbox.path("store");
        let m = Mount::of(sandbox, copy);
        let Some(what) = damage(m.store(), &mut random) else {
            continue;
        };
        let outcome = judge(&m, &right);
        let name = format!("{outcome:?}");
        let name = name.split('(').next().unwrap().to_owned();
        *totals.entry(name).or_insert(0) += 1;
        if let Outcome::Wrong(why) = outcome {
            wrong.push(format!("{what}: {why}"));
        }
    }
    println!("{totals:?}");
    assert!(
        wrong.is_empty(),
        "{} of {times}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn times(default: u64) -> usize {
    usize::try_from(number("KFS_FLIPS").unwrap_or(default)).unwrap()
}

/// One of the files, the larger ones more often.
fn pick(store: &Path, random: &mut Random) -> (PathBuf, u64) {
    let files = engine_files(store);
    let total: u64 = files.iter().map(|(_, size)| size + 2000).sum();
    let mut at = random.next() % total;
    for (path, size) in &files {
        if at < size + 2000 {
            return (path.clone(), *size);
        }
        at -= size + 2000;
    }
    files[0].clone()
}

#[test]
fn a_flipped_bit_is_an_error_or_harmless_and_never_another_content() {
    damage_copies(times(25), |store, random| {
        let (path, size) = pick(store, random);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let (at, bit) = (random.next() % size, 1u8 << random.below(8));
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ bit], at).unwrap();
        Some(format!("bit {bit} of byte {at} of {size} in {path:?}"))
    });
}

#[test]
fn overwritten_blocks_are_an_error_or_harmless_and_never_another_content() {
    damage_copies(times(10), |store, random| {
        let (path, size) = pick(store, random);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let at = random.next() % size / 512 * 512;
        let length = 512.min(size - at);
        let filling = if random.below(2) == 0 {
            vec![0; 512]
        } else {
            random.bytes(512)
        };
        file.write_all_at(&filling[..usize::try_from(length).unwrap()], at)
            .unwrap();
        Some(format!("{length} bytes at {at} of {size} in {path:?}"))
    });
}

#[test]
fn a_truncated_file_is_an_error_or_harmless_and_never_another_content() {
    damage_copies(times(10), |store, random| {
        let (path, size) = pick(store, random);
        let to = match random.below(3) {
            0 => 0,
            1 => size - 1,
            _ => random.next() % size,
        };
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(to)
            .unwrap();
        Some(format!("{path:?} cut from {size} to {to}"))
    });
}

#[test]
fn a_lost_file_is_an_error_or_harmless_and_never_another_content() {
    let mut next = 0;
    damage_copies(12, |store, _| {
        let files = engine_files(store);
        let (path, size) = files.get(next)?;
        next += 1;
        fs::remove_file(path).unwrap();
        Some(format!("{path:?} of {size} bytes removed"))
    });
}

#[test]
fn a_changed_blob_is_an_error_for_what_it_holds_and_for_nothing_else() {
    let mut next = 0;
    damage_copies(times(30), |store, random| {
        let blobs: Vec<(Vec<u8>, Vec<u8>)> = engine::blobs(store).into_iter().collect();
        // The first ones in turn, so that each kind of blob is among them, then any.
        let (address, bytes) = match next {
            0..4 => &blobs[next * (blobs.len() - 1) / 3],
            _ => random.pick(&blobs),
        };
        next += 1;
        let (what, bad) = match random.below(4) {
            0 => ("cut", bytes[..random.below(bytes.len())].to_vec()),
            1 => ("longer", [&bytes[..], b"x"].concat()),
            2 => ("another blob", random.pick(&blobs).1.clone()),
            _ => {
                let mut bad = bytes.clone();
                let at = random.below(bad.len());
                bad[at] ^= 1 << random.below(8);
                ("flipped", bad)
            }
        };
        if bad == *bytes {
            return None;
        }
        engine::put(store, address, &bad);
        Some(format!(
            "{what}: {}, {} bytes",
            address.escape_ascii(),
            bytes.len()
        ))
    });
}

#[test]
fn a_store_of_another_format_is_refused_and_left_alone() {
    let m = Mount::unmounted();
    m.put("doc", "{:a 1}");
    let mut t = Table::new("another format");
    let newer = u8::try_from(FORMAT).unwrap() + 1;
    for (word, other) in [("newer", newer), ("older", 0)] {
        let format = engine::set_format(m.store(), |_| other);
        let number = format!("format {other}");
        let before = engine::blobs(m.store());
        let get: Output = m.kfs::<&str>("get", "doc", &[]);
        t.command(
            &format!("{word}: get"),
            &get,
            Exit::Unsupported,
            &["store", &number],
        );
        let put = m.kfs("put", "doc", &["1"]);
        t.command(
            &format!("{word}: put"),
            &put,
            Exit::Unsupported,
            &["store", &number],
        );
        t.command(
            &format!("{word}: mount"),
            &m.try_mount(),
            Exit::Unsupported,
            &["store", &number],
        );
        let init = m.sandbox.kfs(["init".as_ref(), m.store().as_os_str()]);
        t.command(&format!("{word}: init"), &init, Exit::Refused, &["store"]);
        t.fact(word, engine::blobs(m.store()) == before, "is left alone");
        engine::set_format(m.store(), |_| format);
        t.fact(word, m.get("doc") == edn("{:a 1}"), "is there again");
    }
    // The one before this is read, and written as this one.
    let format = engine::set_format(m.store(), |old| old - 1);
    t.fact("format 1", m.get("doc") == edn("{:a 1}"), "is read");
    m.put("doc", "{:a 2}");
    t.fact(
        "format 1",
        m.get("doc") == edn("{:a 2}"),
        "takes what is written",
    );
    let now = engine::set_format(m.store(), |now| now);
    t.fact("format 1", now == format, "is upgraded");
    t.finish(15);
}
