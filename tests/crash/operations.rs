//! The operations of the sequences: each kind is a few steps on what the store holds by then.

use konserve_fs::gc;
use konserve_fs::snapshot::{self, Transaction};
use konserve_fs::store::{Store, StoreError};
use konserve_fs::tree::Node;
use konserve_fs::value::{Key, Value};
use konserve_fs::view::{Caller, Ino, ROOT, SetAttr, SetTime, Time, View};

use crate::random::Random;
use crate::run::Durability::{Later, Synced, SyncedIfDone};
use crate::run::{Durability, Run, Session};
use crate::sweep::sweep;

pub const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};

/// A kind of operation.
pub type Kind = (&'static str, fn(&mut Run<'_>, &mut Random));

pub const KINDS: &[Kind] = &[
    ("assoc_in, small", assoc_small),
    ("assoc_in, a leaf of many", assoc_leaf),
    ("assoc_in, large", assoc_large),
    ("dissoc", dissoc),
    ("bassoc", bassoc),
    ("move to another key", rename_keys),
    ("exchange", swap),
    ("update_in", update),
    ("vector", vector),
    ("make a directory", mkdir),
    ("remove a directory", rmdir),
    ("write a new file", write_new),
    ("write into a file", write_into),
    ("truncate", truncate),
    ("mode and times", set_attributes),
    ("extended attribute", set_xattr),
    ("declare a type", declare),
    ("unlink", unlink),
    ("write and rename over", replace),
    ("symbolic link", symlink),
    ("punch a hole", punch),
    ("copy a range", copy_range),
    ("sync", sync),
    ("fold", fold),
    ("reopen", reopen),
    ("free pages", free),
    ("take a snapshot", take_snapshot),
    ("drop a snapshot", drop_snapshot),
    ("restore from a snapshot", restore),
    ("roll back", roll_back),
    ("a sync that fails", failing_sync),
    ("transaction", transaction),
    ("sweep", sweep),
];

/// Fills a new store.
pub fn populate(run: &mut Run<'_>, random: &mut Random) {
    let big = (0..300).map(|n| {
        let entry = Value::Map(
            [
                (Key::text("n"), Value::Int(n)),
                (Key::text("text"), Value::Text(random.text(40))),
            ]
            .into(),
        );
        (Key::text(&format!("k{n:03}")), entry)
    });
    let big = Value::Map(big.collect());
    let deep = Value::Map([(Key::text("f"), text("deep"))].into());
    let map = [
        (Key::text("a"), Value::Int(1)),
        (Key::text("b"), text("text")),
        (Key::text("d"), Value::Map([(Key::text("e"), deep)].into())),
    ];
    let vec = (0..40).map(|n| {
        if n % 3 == 0 {
            text("three")
        } else {
            Value::Int(n)
        }
    });
    let blob = Value::Bytes(random.bytes(150_000));
    let values = [
        (Key::text("big"), big),
        (Key::text("map"), Value::Map(map.into())),
        (Key::text("vec"), Value::Vector(vec.collect())),
        (Key::text("blob"), blob),
        (Key::text("text"), Value::Text(random.text(9000))),
        (Key::index(42), Value::Int(42)),
    ];
    for (key, value) in values {
        let path = [key];
        run.step("populate", Later, |s| {
            s.store.assoc_in(&path, &value).unwrap()
        });
    }
    run.step("populate", Later, |s| {
        snapshot::take(&s.store.unsynced(), "s0").unwrap();
    });
    for dir in ["dir", "dir/sub", "dir/empty", "empty"] {
        run.step("populate", Later, |s| make_dir(&s.view, dir));
    }
    for name in ["dir/file", "dir/sub/file", "file"] {
        let content = random.text(700);
        write_file(run, name, content.as_bytes(), false);
    }
    run.step("populate", Later, |s| {
        let ino = lookup(&s.view, "dir/file").unwrap();
        s.view
            .setxattr(&CALLER, ino, b"user.note", b"first", 0, 0)
            .unwrap();
    });
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A handle that waits for the disk, or one that does not.
fn handle(random: &mut Random) -> (Durability, fn(&Session) -> Store) {
    if random.below(3) == 0 {
        (SyncedIfDone, |s| s.store.clone())
    } else {
        (Later, |s| s.store.unsynced())
    }
}

/// The paths of everything of a kind, two names deep and not in the big map.
fn places(s: &Session, kind: fn(&Node) -> bool) -> Vec<Vec<Key>> {
    let mut found = Vec::new();
    let (docs, _) = s.store.docs_after(None, 1000).unwrap();
    for (key, doc) in docs {
        if kind(&doc.entry.node) {
            found.push(vec![key.clone()]);
        }
        let Node::Map(map) = &doc.entry.node else {
            continue;
        };
        if map.len() > 100 {
            continue;
        }
        map.for_each(s.store.pager(), &mut |name, entry| {
            if kind(&entry.node) {
                found.push(vec![key.clone(), name.clone()]);
            }
            Ok(())
        })
        .unwrap();
    }
    found
}

fn is_file(node: &Node) -> bool {
    matches!(node, Node::Text(_) | Node::Bytes(_))
}

fn is_map(node: &Node) -> bool {
    matches!(node, Node::Map(_))
}

/// One of the places of a kind, with its names.
fn place(run: &Run<'_>, random: &mut Random, kind: fn(&Node) -> bool) -> Option<Vec<Key>> {
    let all = places(run.session(), kind);
    (!all.is_empty()).then(|| random.pick(&all).clone())
}

/// The same for the view.
fn file(run: &Run<'_>, random: &mut Random, kind: fn(&Node) -> bool) -> Option<String> {
    let path = place(run, random, kind)?;
    let names = path.iter().map(|key| match key.value() {
        Value::Text(name) => Some(name),
        _ => None,
    });
    Some(names.collect::<Option<Vec<_>>>()?.join("/"))
}

/// A name that may or may not be there yet.
fn name(random: &mut Random) -> String {
    format!("new{}", random.below(3))
}

fn assoc_small(run: &mut Run<'_>, random: &mut Random) {
    let path = match random.below(3) {
        0 => vec![Key::text(&name(random))],
        1 => vec![Key::text(&name(random)), Key::text("a"), Key::text("b")],
        _ => vec![Key::text("map"), Key::text(&name(random))],
    };
    let values = [Value::Int(7), Value::Nil, Value::Bool(true), text("small")];
    let value = random.pick(&values);
    let (durability, store) = handle(random);
    run.step(format!("assoc_in {path:?} {value:?}"), durability, |s| {
        accept(store(s).assoc_in(&path, value));
    });
}

fn assoc_leaf(run: &mut Run<'_>, random: &mut Random) {
    let leaf = format!("k{:03}", random.below(310));
    let path = [Key::text("big"), Key::text(&leaf), Key::text("n")];
    let (durability, store) = handle(random);
    let value = Value::Int(random.below(1000) as i64);
    run.step(format!("assoc_in big/{leaf}/n"), durability, |s| {
        accept(store(s).assoc_in(&path, &value));
    });
}

fn assoc_large(run: &mut Run<'_>, random: &mut Random) {
    let path = [Key::text(&name(random)), Key::text("large")];
    let path = &path[..1 + random.below(2)];
    let value = if random.below(2) == 0 {
        Value::Text(random.text(270_000))
    } else {
        let entries = (0..150).map(|n| (Key::index(n), Value::Text(random.text(30))));
        Value::Map(entries.collect())
    };
    let (durability, store) = handle(random);
    run.step(format!("assoc_in {path:?}, large"), durability, |s| {
        accept(store(s).assoc_in(path, &value));
    });
}

fn dissoc(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = place(run, random, |_| true) else {
        return assoc_small(run, random);
    };
    let (durability, store) = handle(random);
    run.step(format!("dissoc_in {path:?}"), durability, |s| {
        store(s).dissoc_in(&path).unwrap();
    });
}

fn bassoc(run: &mut Run<'_>, random: &mut Random) {
    let name = ["new0", "new1", "blob"][random.below(3)];
    let key = Key::text(name);
    let length = *random.pick(&[10, 5000, 70_000, 200_000]);
    let bytes = random.bytes(length);
    let (durability, store) = handle(random);
    run.step(format!("bassoc {key:?}, {length} bytes"), durability, |s| {
        store(s).bassoc(&key, &bytes[..]).unwrap();
    });
}

fn rename_keys(run: &mut Run<'_>, random: &mut Random) {
    let Some(from) = place(run, random, |_| true) else {
        return assoc_small(run, random);
    };
    let Some(mut to) = place(run, random, is_map) else {
        return assoc_small(run, random);
    };
    if random.below(2) == 0 {
        to.clear();
    }
    to.push(Key::text(&name(random)));
    let (durability, store) = handle(random);
    run.step(format!("move {from:?} to {to:?}"), durability, |s| {
        accept(store(s).rename(&from, &to, false));
    });
}

fn swap(run: &mut Run<'_>, random: &mut Random) {
    let (Some(a), Some(b)) = (place(run, random, |_| true), place(run, random, |_| true)) else {
        return assoc_small(run, random);
    };
    let (durability, store) = handle(random);
    run.step(format!("exchange {a:?} and {b:?}"), durability, |s| {
        accept(store(s).swap(&a, &b));
    });
}

fn update(run: &mut Run<'_>, random: &mut Random) {
    let path = [Key::text("counter"), Key::text(&name(random))];
    let (durability, store) = handle(random);
    run.step(format!("update_in {path:?}"), durability, |s| {
        accept(store(s).update_in(&path, |old| {
            Ok::<_, StoreError>(match old {
                Some(Value::Int(n)) => Value::Int(n + 1),
                _ => Value::Int(1),
            })
        }));
    });
}

fn vector(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = place(run, random, |node| matches!(node, Node::Vector(_))) else {
        return assoc_small(run, random);
    };
    let (durability, store) = handle(random);
    let (remove, random) = (random.below(2) == 0, random.below(1000));
    run.step(
        format!("vector {path:?}, remove: {remove}"),
        durability,
        |s| {
            let Some(Value::Vector(items)) = s.store.get_in(&path).unwrap() else {
                return;
            };
            let mut path = path.clone();
            if remove && !items.is_empty() {
                path.push(Key::index((random % items.len()) as u64));
                store(s).dissoc_in(&path).unwrap();
            } else {
                path.push(Key::index(items.len() as u64));
                accept(store(s).assoc_in(&path, &Value::Int(5)));
            }
        },
    );
}

/// An operation may be refused, as a move below itself is; it may not fail.
fn accept<T>(outcome: Result<T, StoreError>) {
    match outcome {
        Ok(_)
        | Err(
            StoreError::IntoItself { .. }
            | StoreError::NothingThere { .. }
            | StoreError::Occupied { .. }
            | StoreError::Tree { .. },
        ) => {}
        Err(error) => panic!("{error}"),
    }
}

pub fn lookup(view: &View, path: &str) -> Option<Ino> {
    let mut ino = ROOT;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        ino = view.lookup(&CALLER, ino, name.as_bytes()).ok()?.ino;
    }
    Some(ino)
}

/// The directory of a path and the name in it.
fn split<'p>(view: &View, path: &'p str) -> (Ino, &'p [u8]) {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    (lookup(view, dir).unwrap(), name.as_bytes())
}

fn make_dir(view: &View, path: &str) {
    let (dir, name) = split(view, path);
    // It may be there.
    drop(view.mkdir(&CALLER, dir, name, 0o755, 0o022));
}

/// Writes a new file, or one that is there from the beginning.
fn write_file(run: &mut Run<'_>, path: &str, content: &[u8], sync: bool) {
    let fh = run.step(format!("open {path}"), Later, |s| {
        match lookup(&s.view, path) {
            Some(ino) => s.view.open(&CALLER, ino, libc::O_WRONLY).ok().map(|o| o.fh),
            None => {
                let (dir, name) = split(&s.view, path);
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
                let made = s.view.create(&CALLER, dir, name, 0o640, 0o022, flags);
                Some(made.unwrap().1.fh)
            }
        }
    });
    let Some(fh) = fh else { return };
    run.step(
        format!("write {path}, {} bytes", content.len()),
        Later,
        |s| {
            s.view.write(&CALLER, fh, 0, content, false).unwrap();
        },
    );
    if sync {
        run.step(format!("fsync {path}"), Synced, |s| {
            s.view.fsync(fh, false).unwrap()
        });
    }
    run.step(format!("close {path}"), Later, |s| {
        s.view.flush(fh).unwrap()
    });
    run.step(format!("release {path}"), Later, |s| {
        s.view.release(fh).unwrap()
    });
}

fn mkdir(run: &mut Run<'_>, random: &mut Random) {
    let above = file(run, random, is_map).unwrap_or_default();
    let path = format!("{above}/{}", name(random));
    run.step(format!("mkdir {path}"), Later, |s| make_dir(&s.view, &path));
    if random.below(3) == 0 {
        sync_directory(run, &above);
    }
}

fn sync_directory(run: &mut Run<'_>, path: &str) {
    run.step(format!("sync directory {path}"), Synced, |s| {
        let fh = s
            .view
            .opendir(&CALLER, lookup(&s.view, path).unwrap())
            .unwrap();
        s.view.fsyncdir(fh, false).unwrap();
        s.view.releasedir(fh).unwrap();
    });
}

fn rmdir(run: &mut Run<'_>, random: &mut Random) {
    let empty = |node: &Node| matches!(node, Node::Map(map) if map.is_empty());
    let Some(path) = file(run, random, empty) else {
        return mkdir(run, random);
    };
    run.step(format!("rmdir {path}"), Later, |s| {
        let (dir, name) = split(&s.view, &path);
        s.view.rmdir(&CALLER, dir, name).unwrap();
    });
}

fn write_new(run: &mut Run<'_>, random: &mut Random) {
    let above = file(run, random, is_map).unwrap_or_default();
    let path = format!("{above}/{}.txt", name(random));
    let length = *random.pick(&[0, 20, 3000, 100_000]);
    let content = if random.below(2) == 0 {
        random.bytes(length)
    } else {
        random.text(length).into_bytes()
    };
    let sync = random.below(3) == 0;
    write_file(run, &path, &content, sync);
}

fn write_into(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = file(run, random, is_file) else {
        return write_new(run, random);
    };
    let at = *random.pick(&[0, 100, 4096, 65_536, 140_000, 300_000]);
    let data = random.bytes(*random.clone().pick(&[1, 512, 4096]));
    let sync = random.below(2) == 0;
    let fh = open(run, &path);
    run.step(
        format!("write {path} at {at}, {} bytes", data.len()),
        Later,
        |s| {
            s.view.write(&CALLER, fh, at, &data, false).unwrap();
        },
    );
    close(run, fh, sync);
}

fn open(run: &mut Run<'_>, path: &str) -> u64 {
    run.step(format!("open {path}"), Later, |s| {
        let ino = lookup(&s.view, path).unwrap();
        s.view.open(&CALLER, ino, libc::O_RDWR).unwrap().fh
    })
}

fn close(run: &mut Run<'_>, fh: u64, sync: bool) {
    if sync {
        run.step("fsync", Synced, |s| s.view.fsync(fh, true).unwrap());
    }
    run.step("close", Later, |s| s.view.flush(fh).unwrap());
    run.step("release", Later, |s| s.view.release(fh).unwrap());
}

fn set(run: &mut Run<'_>, path: &str, what: &str, set: &SetAttr) {
    run.step(format!("{what} {path}"), Later, |s| {
        let ino = lookup(&s.view, path).unwrap();
        s.view.setattr(&CALLER, ino, set).unwrap();
    });
}

fn truncate(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = file(run, random, is_file) else {
        return write_new(run, random);
    };
    let size = *random.pick(&[0, 10, 5000, 100_000, 200_000]);
    let to = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    set(run, &path, &format!("truncate to {size}"), &to);
}

fn set_attributes(run: &mut Run<'_>, random: &mut Random) {
    let path = file(run, random, |_| true).unwrap_or_default();
    let to = SetAttr {
        mode: Some(*random.pick(&[0o600, 0o755, 0o2775])),
        uid: Some(random.below(3) as u32),
        mtime: Some(SetTime::At(Time {
            secs: random.below(1 << 30) as i64,
            nanos: 5,
        })),
        ..SetAttr::default()
    };
    set(run, &path, "mode and times of", &to);
}

fn set_xattr(run: &mut Run<'_>, random: &mut Random) {
    let path = file(run, random, |node| is_file(node) || is_map(node)).unwrap_or_default();
    let value = random.bytes(*random.clone().pick(&[3, 2000]));
    let remove = random.below(3) == 0;
    run.step(format!("xattr of {path}, remove: {remove}"), Later, |s| {
        let ino = lookup(&s.view, &path).unwrap();
        if remove {
            // It may not have one.
            drop(s.view.removexattr(&CALLER, ino, b"user.note"));
        } else {
            s.view
                .setxattr(&CALLER, ino, b"user.note", &value, 0, 0)
                .unwrap();
        }
    });
}

fn declare(run: &mut Run<'_>, random: &mut Random) {
    let path = file(run, random, is_file).unwrap_or_default();
    let kind = *random.pick(&["int", "bytes", "text", "keyword"]);
    run.step(format!("type of {path}: {kind}"), Later, |s| {
        let ino = lookup(&s.view, &path).unwrap();
        // Not everything can be every type.
        drop(
            s.view
                .setxattr(&CALLER, ino, b"user.kfs.type", kind.as_bytes(), 0, 0),
        );
    });
}

fn unlink(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = file(run, random, is_file) else {
        return write_new(run, random);
    };
    run.step(format!("unlink {path}"), Later, |s| {
        let (dir, name) = split(&s.view, &path);
        s.view.unlink(&CALLER, dir, name).unwrap();
    });
}

fn replace(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = file(run, random, is_file) else {
        return write_new(run, random);
    };
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    let temporary = format!("{above}/.temporary");
    let content = random.text(*random.clone().pick(&[30, 2000, 90_000]));
    let sync = random.below(2) == 0;
    write_file(run, &temporary, content.as_bytes(), sync);
    run.step(format!("rename {temporary} to {path}"), Later, |s| {
        let ((dir, name), (to_dir, to)) = (split(&s.view, &temporary), split(&s.view, &path));
        s.view.rename(&CALLER, dir, name, to_dir, to, 0).unwrap();
    });
    if sync {
        sync_directory(run, above);
    }
}

fn symlink(run: &mut Run<'_>, random: &mut Random) {
    let above = file(run, random, is_map).unwrap_or_default();
    let path = format!("{above}/link{}", random.below(3));
    run.step(format!("symlink {path}"), Later, |s| {
        let (dir, name) = split(&s.view, &path);
        // It may be there.
        drop(s.view.symlink(&CALLER, dir, name, b"to/somewhere"));
    });
}

fn punch(run: &mut Run<'_>, random: &mut Random) {
    let Some(path) = file(run, random, is_file) else {
        return write_new(run, random);
    };
    let at = *random.pick(&[0, 1000, 65_536]);
    let sync = random.below(2) == 0;
    let fh = open(run, &path);
    run.step(format!("punch {path} at {at}"), Later, |s| {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        s.view.fallocate(&CALLER, fh, at, 70_000, mode).unwrap();
    });
    close(run, fh, sync);
}

fn copy_range(run: &mut Run<'_>, random: &mut Random) {
    let (Some(from), Some(to)) = (file(run, random, is_file), file(run, random, is_file)) else {
        return write_new(run, random);
    };
    if from == to {
        return write_into(run, random);
    }
    let at = *random.pick(&[0, 65_536]);
    let (source, target) = (open(run, &from), open(run, &to));
    run.step(format!("copy {from} to {to} at {at}"), Later, |s| {
        s.view
            .copy_file_range(&CALLER, source, 0, target, at, 150_000)
            .unwrap();
    });
    close(run, target, false);
    close(run, source, false);
}

fn sync(run: &mut Run<'_>, _: &mut Random) {
    run.step("sync", Synced, |s| s.store.sync().unwrap());
}

fn fold(run: &mut Run<'_>, _: &mut Random) {
    run.step("fold", Synced, |s| s.store.fold_now().unwrap());
}

fn reopen(run: &mut Run<'_>, random: &mut Random) {
    run.reopen(random.below(2) == 0);
}

fn free(run: &mut Run<'_>, _: &mut Random) {
    run.step("free pages", Synced, |s| {
        gc::reclaim(&s.store).unwrap();
    });
}

/// At most three: every state is compared with all that they show.
fn take_snapshot(run: &mut Run<'_>, random: &mut Random) {
    let name = format!("s{}", random.below(3));
    let (durability, store) = handle(random);
    run.step(format!("take snapshot {name}"), durability, |s| {
        let taken = snapshot::take(&store(s), &name);
        assert!(taken.is_ok() || snapshot::find(&s.store, &name).is_ok());
    });
}

/// One of the snapshots.
fn snapshot_name(run: &Run<'_>, random: &mut Random) -> Option<String> {
    let all = snapshot::list(&run.session().store).unwrap();
    (!all.is_empty()).then(|| random.pick(&all).name.clone())
}

fn drop_snapshot(run: &mut Run<'_>, random: &mut Random) {
    let Some(name) = snapshot_name(run, random) else {
        return;
    };
    // Clearing away what is kept for one is a record of its own.
    if run.session().store.has_dropped() {
        return;
    }
    let (durability, store) = handle(random);
    run.step(format!("drop snapshot {name}"), durability, |s| {
        snapshot::remove(&store(s), &name).unwrap();
    });
}

fn restore(run: &mut Run<'_>, random: &mut Random) {
    let Some(name) = snapshot_name(run, random) else {
        return;
    };
    let then = snapshot::open(&run.session().store, &name).unwrap();
    let (docs, _) = then.docs_after(None, 1000).unwrap();
    if docs.is_empty() {
        return;
    }
    let path = [random.pick(&docs).0.clone()];
    let (durability, store) = handle(random);
    run.step(format!("restore {path:?} from {name}"), durability, |s| {
        snapshot::restore(&store(s), &then, &path).unwrap();
    });
}

fn roll_back(run: &mut Run<'_>, random: &mut Random) {
    let Some(name) = snapshot_name(run, random) else {
        return;
    };
    let then = snapshot::open(&run.session().store, &name).unwrap();
    let (durability, store) = handle(random);
    run.step(format!("roll back to {name}"), durability, |s| {
        snapshot::roll_back(&store(s), &then).unwrap();
    });
}

/// Some changes in a private state, perhaps one beside it, and the end of one or the other kind.
fn transaction(run: &mut Run<'_>, random: &mut Random) {
    // Ending it leaves something to clear away, which is a record of its own for each.
    if run.session().store.has_dropped() {
        return;
    }
    let (durability, store) = handle(random);
    let begun = run.step("begin a transaction", Later, |s| {
        Transaction::begin(&store(s)).unwrap()
    });
    let path = |names: [&str; 2]| names.map(Key::text);
    let small = Value::Int(random.below(1000) as i64);
    let large = Value::Bytes(random.bytes(300_000));
    let private = begun.store();
    let _ = private.assoc_in(&path(["big", "k007"]), &small);
    let _ = private.assoc_in(&path(["map", "new"]), &text("in a transaction"));
    let _ = private.assoc_in(&path(["large", "bytes"]), &large);
    let _ = private.dissoc_in(&[Key::text("text")]);
    if random.below(3) > 0 {
        let beside = path(["big", ["k008", "k007"][random.below(2)]]);
        run.step("assoc_in beside it", Later, |s| {
            let _ = s.store.unsynced().assoc_in(&beside, &text("beside"));
        });
    }
    if random.below(4) == 0 {
        run.step("give it up", Later, |_| begun.abort().unwrap());
        return;
    }
    let conflicts = run.step("commit it", durability, |_| begun.commit().unwrap());
    if !conflicts.is_empty() {
        run.step("give it up after a conflict", Later, |_| {
            begun.abort().unwrap();
        });
    }
}

/// The store says so, and does not say anything else before it is opened again.
fn failing_sync(run: &mut Run<'_>, random: &mut Random) {
    let large = random.below(2) == 0;
    let value = Value::Bytes(random.bytes(if large { 280_000 } else { 100 }));
    run.fail_sync(Some(random.below(3) as u32));
    for (n, name) in ["new0", "new1"].iter().enumerate() {
        run.attempt(
            format!("assoc_in {name}, large: {large}, a sync may fail"),
            |s| s.store.assoc_in(&[Key::text(name)], &value).is_ok(),
            |ok, _| *ok,
        );
        let name = format!("sync {n} after it");
        run.attempt(name, |s| s.store.sync().is_ok(), |ok, _| *ok);
    }
    run.fail_sync(None);
    run.reopen(false);
}
