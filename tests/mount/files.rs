//! What programs expect of files: content, sizes, times, renames, space.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statvfs::statvfs;

use crate::harness::{Mount, edn};
use crate::random::Random;
use crate::raw;

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, flags)
}

#[test]
fn the_bytes_written_are_the_bytes_read() {
    let m = Mount::new();
    let mut random = Random::new(1);
    let contents: Vec<Vec<u8>> = [0, 1, 4095, 4096, 4097, 65_536, 1 << 20, (3 << 20) + 7]
        .into_iter()
        .map(|length| random.bytes(length))
        .chain(
            [
                "\n",
                "\n\n",
                "a",
                "a\n",
                "a\r\n",
                "42",
                "42\n",
                " 42\n",
                "nil",
                "1e5\n",
                "\u{feff}x",
            ]
            .map(Vec::from),
        )
        .chain([
            vec![0],
            b"\xff".to_vec(),
            b"a\0b\n".to_vec(),
            vec![b'\n'; 5000],
        ])
        .collect();
    fs::create_dir(m.path("d")).unwrap();
    for _ in 0..2 {
        for (number, content) in contents.iter().enumerate() {
            m.write(format!("f{number}"), content);
            m.write(format!("d/f{number}"), content);
        }
        m.remount();
        for (number, content) in contents.iter().enumerate() {
            for name in [format!("f{number}"), format!("d/f{number}")] {
                assert_eq!(
                    fs::metadata(m.path(&name)).unwrap().len(),
                    content.len() as u64
                );
                assert!(m.read(&name) == *content, "{name}, {} bytes", content.len());
            }
        }
    }
}

#[test]
fn appending_handles_do_not_overwrite_each_other() {
    let m = Mount::new();
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(m.path("log"))
            .unwrap()
    };
    let (mut a, mut b) = (open(), open());
    for number in 0..100 {
        writeln!(a, "a{number}").unwrap();
        writeln!(b, "b{number}").unwrap();
    }
    drop((a, b));
    m.sh("echo end >> log");
    m.remount();
    let text = String::from_utf8(m.read("log")).unwrap();
    assert_eq!(text.lines().count(), 201);
    assert!(text.starts_with("a0\nb0\na1\n") && text.ends_with("b99\nend\n"));
}

#[test]
fn files_shrink_and_grow_through_handles_and_paths() {
    let m = Mount::new();
    m.write("f", "0123456789");
    let file = OpenOptions::new().write(true).open(m.path("f")).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(m.read("f"), b"0123");
    file.set_len(8).unwrap();
    drop(file);
    assert_eq!(m.read("f"), b"0123\0\0\0\0");
    m.sh("truncate -s 2 f");
    m.remount();
    assert_eq!(m.read("f"), b"01");
    m.sh("truncate -s 5000000 f");
    m.remount();
    let content = m.read("f");
    assert_eq!(content.len(), 5_000_000);
    assert!(content.starts_with(b"01\0") && content[2..].iter().all(|byte| *byte == 0));
    m.sh("true > f");
    m.remount();
    assert_eq!(m.read("f"), b"");
}

#[test]
fn holes_read_as_zeros_and_a_write_in_the_middle_changes_nothing_else() {
    let m = Mount::new();
    let mut expected = vec![0u8; (64 << 20) + 4];
    expected[64 << 20..].copy_from_slice(b"tail");
    expected[1000..1004].copy_from_slice(b"head");
    let file = File::create(m.path("sparse")).unwrap();
    file.write_all_at(b"tail", 64 << 20).unwrap();
    file.write_all_at(b"head", 1000).unwrap();
    drop(file);
    m.remount();
    assert!(m.read("sparse") == expected);

    let mut random = Random::new(2);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(m.path("sparse"))
        .unwrap();
    for _ in 0..50 {
        let (at, piece) = (random.below(64 << 20), random.bytes(100));
        file.write_all_at(&piece, at as u64).unwrap();
        expected[at..at + 100].copy_from_slice(&piece);
    }
    drop(file);
    assert!(m.read("sparse") == expected);
    m.remount();
    assert!(m.read("sparse") == expected);
}

#[test]
fn a_mapped_write_arrives() {
    let m = Mount::new();
    m.write("f", "0123456789\n");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(m.path("f"))
        .unwrap();
    raw::write_mapped(&file, b"abc").unwrap();
    drop(file);
    m.remount();
    assert_eq!(m.read("f"), b"abc3456789\n");
    assert_eq!(m.get("f"), edn(r#""abc3456789""#));
}

#[test]
fn handles_of_one_mount_see_a_write_at_once() {
    let m = Mount::new();
    m.write("f", "old");
    let mut reader = File::open(m.path("f")).unwrap();
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    let mut writer = OpenOptions::new().write(true).open(m.path("f")).unwrap();
    writer.write_all(b"newer").unwrap();
    content.clear();
    reader.seek(SeekFrom::Start(0)).unwrap();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "newer");
    assert_eq!(fs::metadata(m.path("f")).unwrap().len(), 5);
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    let m = Mount::new();
    for dir in ["", "d"] {
        let name = Path::new(dir).join("f");
        fs::create_dir_all(m.path(dir)).unwrap();
        m.write(&name, "before");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(m.path(&name))
            .unwrap();
        fs::remove_file(m.path(&name)).unwrap();
        assert_eq!(m.names(dir), Vec::<&str>::new());
        assert!(!m.has(&name));
        file.write_all_at(b"after!!", 0).unwrap();
        file.sync_all().unwrap();
        m.write(&name, "another");
        let mut content = [0; 7];
        file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"after!!");
        assert_eq!(
            (
                file.metadata().unwrap().nlink(),
                file.metadata().unwrap().len()
            ),
            (0, 7)
        );
        drop(file);
        assert_eq!(m.read(&name), b"another");
        fs::remove_file(m.path(&name)).unwrap();
    }
}

#[test]
fn a_rename_over_a_file_leaves_its_readers_the_old_content() {
    let m = Mount::new();
    m.write("f", "old");
    m.write("t", "new");
    let mut reader = File::open(m.path("f")).unwrap();
    fs::rename(m.path("t"), m.path("f")).unwrap();
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "old");
    assert_eq!(m.read("f"), b"new");
    assert_eq!(m.names(""), ["f"]);
}

#[test]
fn renames_keep_their_flags_between_all_places() {
    let m = Mount::new();
    m.sh("mkdir d e");
    for (a, b) in [("a", "b"), ("d/a", "d/b"), ("a", "d/b"), ("d/a", "e/b")] {
        m.write(a, "A");
        m.write(b, "B");
        let (a, b) = (m.path(a), m.path(b));
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(
            rename(&a, &b, RenameFlags::RENAME_NOREPLACE),
            Err(Errno::EEXIST)
        );
        assert_eq!((read(&a), read(&b)), ("A".into(), "B".into()));
        rename(&a, &b, RenameFlags::RENAME_EXCHANGE).unwrap();
        assert_eq!((read(&a), read(&b)), ("B".into(), "A".into()));
        assert_eq!(
            rename(&a, &b, RenameFlags::RENAME_WHITEOUT),
            Err(Errno::EINVAL)
        );
        fs::remove_file(&b).unwrap();
        assert_eq!(
            rename(&a, &b, RenameFlags::RENAME_EXCHANGE),
            Err(Errno::ENOENT)
        );
        rename(&a, &b, RenameFlags::RENAME_NOREPLACE).unwrap();
        assert_eq!(read(&b), "B");
        assert!(!a.exists());
        fs::remove_file(&b).unwrap();
    }
}

#[test]
fn directories_and_files_change_places_in_one_step() {
    let m = Mount::new();
    m.put("doc", "{:x {:y 1} :z 2}");
    m.put("v", "[1 [2 3]]");
    m.write("f", "text");
    let swap = |a: &str, b: &str| {
        rename(&m.path(a), &m.path(b), RenameFlags::RENAME_EXCHANGE).unwrap();
    };
    swap("doc/:x", "v/1");
    assert_eq!(m.get("doc"), edn("{:x [2 3] :z 2}"));
    assert_eq!(m.get("v"), edn("[1 {:y 1}]"));
    swap("f", "doc");
    assert_eq!(m.get("f"), edn("{:x [2 3] :z 2}"));
    assert_eq!(m.get("doc"), edn(r#""text""#));
    m.remount();
    assert_eq!(m.sh("cat f/:x/1 doc"), "3\ntext");
    // A directory moves with all that is in it, open files too.
    let writer = OpenOptions::new().write(true).open(m.path("f/:z")).unwrap();
    fs::rename(m.path("f"), m.path("v/2")).unwrap();
    writer.write_all_at(b"5", 0).unwrap();
    drop(writer);
    assert_eq!(m.get("v"), edn("[1 {:y 1} {:x [2 3] :z 5}]"));
}

#[test]
fn free_space_is_that_of_the_filesystem_below_and_names_have_255_bytes() {
    let m = Mount::new();
    let (here, below) = (statvfs(m.dir()).unwrap(), statvfs(m.store()).unwrap());
    let bytes = |blocks: u64, stat: &nix::sys::statvfs::Statvfs| blocks * stat.fragment_size();
    assert_eq!(here.name_max(), 255);
    assert_eq!(bytes(here.blocks(), &here), bytes(below.blocks(), &below));
    // The same but for what others write to the disk meanwhile.
    let free = |stat| bytes(stat_available(stat), stat) as f64;
    let ratio = free(&here) / free(&below);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    assert!(here.blocks_available() <= here.blocks_free());
    assert!(here.blocks_free() <= here.blocks());
    m.sh("df . ; df -i .");
}

fn stat_available(stat: &nix::sys::statvfs::Statvfs) -> u64 {
    stat.blocks_available()
}

#[test]
fn a_file_handle_that_is_written_slowly_is_committed_within_seconds() {
    let m = Mount::new();
    m.write("f", "old");
    let mut file = OpenOptions::new().write(true).open(m.path("f")).unwrap();
    file.write_all(b"new").unwrap();
    let waiting = Instant::now();
    while m.get("f") != edn(r#""new""#) {
        assert!(
            waiting.elapsed() < Duration::from_secs(8),
            "never committed"
        );
        sleep(Duration::from_millis(200));
    }
}

/// The bytes that the files of a directory take.
fn space_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            space_of(&path)
        } else {
            fs::metadata(&path).unwrap().blocks() * 512
        }
    });
    sizes.sum()
}

#[test]
fn a_copy_of_a_large_file_takes_almost_no_space() {
    let m = Mount::new();
    let content = Random::new(5).bytes((24 << 20) + 1000);
    m.write("one", &content);
    m.remount();
    let before = space_of(m.store());
    fs::copy(m.path("one"), m.path("two")).unwrap();
    // Each is its own from now on.
    let file = OpenOptions::new().write(true).open(m.path("one")).unwrap();
    file.write_all_at(b"changed", 70_000).unwrap();
    drop(file);
    m.remount();
    let grown = space_of(m.store()).saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes more");
    assert!(m.read("two") == content);
    let mut changed = content;
    changed[70_000..70_007].copy_from_slice(b"changed");
    assert!(m.read("one") == changed);
}

#[test]
fn ranges_are_copied_wherever_they_begin() {
    let m = Mount::new();
    let mut random = Random::new(6);
    let mut from = random.bytes(400_000);
    from[130_000..280_000].fill(0);
    let mut to = random.bytes(300_000);
    m.write("from", &from);
    m.write("to", &to);
    for round in 0..60 {
        let place = |random: &mut Random| {
            (random.below(6) * 65_536 + [0, 0, 1, 500][random.below(4)]) as i64
        };
        let (mut at, mut target) = (place(&mut random), place(&mut random));
        let count = [65_536, 131_072, 200_000, 1, 4096][random.below(5)];
        let available = from.len().saturating_sub(at as usize).min(count);
        let bytes = from[from.len().min(at as usize)..][..available].to_vec();
        let end = target as usize + available;
        if available > 0 {
            to.resize(to.len().max(end), 0);
            to[target as usize..end].copy_from_slice(&bytes);
        }
        let source = File::open(m.path("from")).unwrap();
        let file = OpenOptions::new().write(true).open(m.path("to")).unwrap();
        let mut left = available;
        while left > 0 {
            let copied = raw::copy_range((&source, &mut at), (&file, &mut target), left);
            left -= copied.unwrap();
        }
        drop((source, file));
        if round % 20 == 19 {
            m.remount();
        }
        assert!(m.read("to") == to, "round {round}");
    }
}
