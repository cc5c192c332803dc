//! A directory tree with everything in it that a backup must carry, and what tells two trees apart.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

use crate::random::Random;
use crate::raw;

/// What a backup must bring back of one file, directory, or anything else with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub device: u64,
    /// Length and hash of a file's content.
    pub content: Option<(u64, String)>,
    pub target: Option<PathBuf>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Every entry of a tree by its path below `root`, with `root` itself as the empty path.
#[track_caller]
pub fn walk(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = if path.as_os_str().is_empty() {
            root.to_owned()
        } else {
            root.join(&path)
        };
        let entry = entry(&full);
        if entry.kind == 'd' {
            let list = fs::read_dir(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()));
            todo.extend(list.map(|item| path.join(item.unwrap().file_name())));
        }
        found.insert(path, entry);
    }
    found
}

/// One entry.
#[track_caller]
pub fn entry(path: &Path) -> Entry {
    let fail = |error: std::io::Error| -> ! { panic!("{}: {error}", path.display()) };
    let meta = fs::symlink_metadata(path).unwrap_or_else(|error| fail(error));
    let kind = meta.file_type();
    let letter = match kind {
        _ if kind.is_dir() => 'd',
        _ if kind.is_symlink() => 'l',
        _ if kind.is_fifo() => 'p',
        _ if kind.is_socket() => 's',
        _ if kind.is_char_device() => 'c',
        _ if kind.is_block_device() => 'b',
        _ => 'f',
    };
    let content = (letter == 'f').then(|| {
        let bytes = fs::read(path).unwrap_or_else(|error| fail(error));
        assert_eq!(
            bytes.len() as u64,
            meta.len(),
            "{}: st_size",
            path.display()
        );
        (meta.len(), blake3::hash(&bytes).to_hex().to_string())
    });
    let target = (letter == 'l').then(|| fs::read_link(path).unwrap_or_else(|error| fail(error)));
    let xattrs = raw::list_xattrs(path)
        .unwrap_or_else(|error| fail(error))
        .into_iter()
        .map(|name| {
            let value = raw::get_xattr(path, &name).unwrap_or_else(|error| fail(error));
            (name, value)
        })
        .collect();
    Entry {
        kind: letter,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        device: meta.rdev(),
        content,
        target,
        xattrs,
    }
}

/// Fails with the first differences, if there are any.
#[track_caller]
pub fn assert_same(left: &BTreeMap<PathBuf, Entry>, right: &BTreeMap<PathBuf, Entry>) {
    let differences = differences(left, right);
    assert!(
        differences.is_empty(),
        "{} differences, the first ones:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
}

/// What tells two trees apart, a line for each path.
pub fn differences(
    left: &BTreeMap<PathBuf, Entry>,
    right: &BTreeMap<PathBuf, Entry>,
) -> Vec<String> {
    let missing = left.keys().filter(|path| !right.contains_key(*path));
    let surplus = right.keys().filter(|path| !left.contains_key(*path));
    let changed = left.iter().filter_map(|(path, a)| {
        let b = right.get(path)?;
        (a != b).then(|| format!("{path:?}:\n  {a:?}\n  {b:?}"))
    });
    (missing.map(|path| format!("{path:?} is missing")))
        .chain(surplus.map(|path| format!("{path:?} is from nowhere")))
        .chain(changed)
        .collect()
}

/// Names with something odd about them, for filesystems that allow any byte but `/` and NUL.
fn odd_names() -> Vec<OsString> {
    let mut names: Vec<OsString> = [
        "with space",
        " leading",
        "trailing ",
        "-dash",
        "--",
        "tab\there",
        "new\nline",
        "quote'\"",
        "back\\slash",
        "*star?",
        "[set]",
        "$HOME",
        "`id`",
        "ünï",
        "日本",
        "😀",
        ".hidden",
        "..three",
        "...",
        "~",
        "f~",
        "#f#",
        "100%.txt",
        "%",
        "%%",
        "%shello",
        "%i42",
        "%i042",
        "%i-7",
        ":kw",
        ":user%2Fname",
        ":",
        "::",
        "%s",
        "%2F",
        "%b00ff",
        "%bZZ",
        "%e(1 2)",
        "nil",
        "42",
        "true",
        "a=b",
        "a;b",
        "a|b",
        "null",
        "CON",
        "e\u{301}",
        "\u{e9}",
    ]
    .map(OsString::from)
    .into();
    names.extend(
        (1..=255u8)
            .filter(|b| *b != b'/')
            .map(|b| OsString::from_vec(vec![b'b', b])),
    );
    names.push(OsString::from("n".repeat(255)));
    names.push(OsString::from("é".repeat(127)));
    names.push(OsString::from_vec(vec![0xff; 255]));
    names
}

/// Writes a tree of at least `files` files below `root`, the same for the same `seed`: odd names,
/// empty and deep directories, all sizes up to 2 MiB, modes, times, symlinks, attributes; as root
/// also owners and special files.
pub fn generate(root: &Path, files: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut dirs = vec![root.join("odd"), root.join("empty"), root.join("deep")];
    for number in 0..files / 25 {
        let parent = match number % 3 {
            0 => root.to_owned(),
            _ => random.pick(&dirs[3.min(dirs.len() - 1)..]).clone(),
        };
        dirs.push(parent.join(format!("dir{number}")));
    }
    let mut deep = root.join("deep");
    for level in 0..40 {
        deep.push(format!("level{level}"));
        dirs.push(deep.clone());
    }
    let mut all = Vec::new();
    for dir in &dirs {
        fs::create_dir_all(dir).unwrap();
    }
    for name in odd_names() {
        let path = root.join("odd").join(name);
        fs::write(&path, random.bytes(9)).unwrap();
        all.push(path);
    }
    while all.len() < files {
        let dir = random.pick(&dirs[2..]);
        let path = dir.join(format!("file{}", all.len()));
        fs::write(&path, content(&mut random)).unwrap();
        all.push(path);
    }
    for number in 0..files / 40 {
        let path = random.pick(&dirs[2..]).join(format!("link{number}"));
        let target = match number % 4 {
            0 => PathBuf::from("/nowhere/at all"),
            1 => PathBuf::from("../odd/100%.txt"),
            2 => PathBuf::from("."),
            _ => PathBuf::from("t".repeat(1 + random.below(1000))),
        };
        symlink(target, &path).unwrap();
        all.push(path);
    }
    for number in 0..5 {
        let path = random.pick(&dirs[2..]).join(format!("fifo{number}"));
        mknod(&path, SFlag::S_IFIFO, Mode::from_bits_truncate(0o640), 0).unwrap();
        all.push(path);
    }
    if nix::unistd::geteuid().is_root() {
        let path = dirs[3].join("device");
        mknod(
            &path,
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o600),
            makedev(1, 3),
        )
        .unwrap();
        all.push(path);
    }
    // Directories last and the inner ones first: what is done inside moves their times.
    dirs.sort();
    all.extend(dirs.into_iter().rev());
    for path in &all {
        decorate(path, &mut random);
    }
    set_time(root, &mut random);
}

/// Some content: nothing, text, or bytes of a length that is near a limit of somebody.
fn content(random: &mut Random) -> Vec<u8> {
    const LENGTHS: &[usize] = &[
        0, 1, 2, 17, 100, 500, 500, 1000, 1000, 2000, 4095, 4096, 4097, 9000, 30_000, 65_536,
    ];
    let length = match random.below(500) {
        0 => (2 << 20) + 1,
        1 => (1 << 20) - 1,
        2 => 300_001,
        _ => *random.pick(LENGTHS),
    };
    match random.below(3) {
        0 => random.bytes(length),
        1 => (b"The quick brown fox\n".iter().cycle().take(length))
            .copied()
            .collect(),
        _ => {
            let mut text: Vec<u8> = (0..length)
                .map(|_| b'a' + (random.next() % 26) as u8)
                .collect();
            if let Some(last) = text.last_mut() {
                *last = b'\n';
            }
            text
        }
    }
}

/// Gives an entry attributes of its own.
fn decorate(path: &Path, random: &mut Random) {
    const MODES: &[u32] = &[
        0o644, 0o600, 0o755, 0o444, 0o640, 0o4755, 0o2711, 0o1777, 0o000,
    ];
    let root = nix::unistd::geteuid().is_root();
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    if root && random.below(4) == 0 {
        let (uid, gid) = (random.below(3000) as u32, random.below(3000) as u32);
        lchown(path, Some(uid), Some(gid)).unwrap();
    }
    if (kind.is_file() || kind.is_dir()) && random.below(4) == 0 {
        raw::set_xattr(path, "user.note", &random.bytes(20), 0).unwrap();
        raw::set_xattr(path, "user.empty", b"", 0).unwrap();
        if root {
            raw::set_xattr(path, "trusted.note", b"for root", 0).unwrap();
        }
    }
    if !kind.is_symlink() && random.below(2) == 0 {
        let mode = match *random.pick(MODES) {
            mode if kind.is_dir() => mode | 0o700,
            mode if root => mode,
            mode => mode | 0o400,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    set_time(path, random);
}

/// Sets a time in the past: rsync compares the times of directories and links by the second, and
/// would leave one that was made in the second in which it was copied.
fn set_time(path: &Path, random: &mut Random) {
    let seconds = 1_000_000_000 + random.below(700_000_000) as i64;
    let time = TimeSpec::new(seconds, random.below(1_000_000_000) as i64);
    utimensat(
        AT_FDCWD,
        path,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )
    .unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Sandbox;

    #[test]
    fn the_generator_repeats_itself() {
        let sandbox = Sandbox::new();
        let (a, b) = (sandbox.make_dir("a"), sandbox.make_dir("b"));
        generate(&a, 400, 7);
        generate(&b, 400, 7);
        let (a, b) = (walk(&a), walk(&b));
        assert_same(&a, &b);
        assert!(a.len() > 400);
    }

    #[test]
    fn the_comparison_sees_every_kind_of_difference() {
        let sandbox = Sandbox::new();
        let dir = sandbox.make_dir("a");
        generate(&dir, 400, 7);
        let before = walk(&dir);
        let changes = [
            "printf x >> odd/nil",
            "chmod 0712 odd/42",
            "touch -d '2020-01-01 00:00:00.000000001' odd/true",
            "touch -h -d 2020-01-01 deep/level0 && ln -s a deep/new",
            "setfattr -n user.note -v other odd/null",
            "rm odd/CON",
            "rmdir empty",
            "ln -sfn elsewhere deep/new",
        ];
        for change in changes {
            sandbox.sh_in(&dir, change).ok();
            let after = walk(&dir);
            assert_ne!(
                differences(&before, &after),
                Vec::<String>::new(),
                "{change}"
            );
        }
    }
}
