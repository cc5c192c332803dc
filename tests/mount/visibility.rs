//! What the store's other readers see of the mount, and the mount of their writes.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::harness::{Mount, edn, need_root};

#[test]
fn the_mount_shows_a_change_through_the_api_at_once() {
    let m = Mount::new();
    m.put("doc", "{:a 1 :b {:c 2}}");
    // Fill the kernel's caches: content, sizes, names that are there and names that are not.
    assert_eq!(
        m.sh("cat doc/:a doc/:b/:c; ls -l . doc doc/:b > /dev/null"),
        "1\n2"
    );
    assert!(!m.path("doc/:new").exists() && !m.path("top").exists());

    m.put("doc/:a", "1000");
    assert_eq!(m.read("doc/:a"), b"1000\n");
    assert_eq!(fs::metadata(m.path("doc/:a")).unwrap().len(), 5);
    m.put("doc/:new", r#""here""#);
    assert_eq!(m.read("doc/:new"), b"here\n");
    m.put("top", "[7]");
    assert_eq!(m.read("top/0"), b"7\n");
    assert_eq!(m.names(""), ["doc", "top"]);
    assert_eq!(m.names("doc"), [":a", ":b", ":new"]);
    m.put("doc/:b", "5");
    assert_eq!(m.read("doc/:b"), b"5\n", "a directory became a file");
    m.kfs::<&str>("rm", "doc/:new", &[]).ok();
    assert!(!m.path("doc/:new").exists());
    m.kfs("mv", "doc/:a", &["doc/:z"]).ok();
    assert_eq!(m.read("doc/:z"), b"1000\n");
    assert!(!m.path("doc/:a").exists());
    m.kfs("rm", "top", &["-r"]).ok();
    assert_eq!(m.names(""), ["doc"]);
}

#[test]
fn a_hundred_changes_are_each_seen_at_once() {
    let m = Mount::new();
    for number in 0..100 {
        m.put("n", &number.to_string());
        assert_eq!(m.read("n"), format!("{number}\n").as_bytes());
        m.write("n", format!("{}\n", number + 1000));
        assert_eq!(m.get("n"), edn(&(number + 1000).to_string()));
    }
}

#[test]
fn an_open_reader_keeps_the_content_that_the_api_replaces() {
    let m = Mount::new();
    for name in ["f", "doc/f"] {
        m.put(name, r#""old content""#);
        let reader = File::open(m.path(name)).unwrap();
        let mut start = [0; 3];
        reader.read_exact_at(&mut start, 0).unwrap();
        m.put(name, r#""something else""#);
        let mut rest = String::new();
        (&reader).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "old content\n");
        assert_eq!(m.read(name), b"something else\n");
        let (old, new) = (
            reader.metadata().unwrap(),
            fs::metadata(m.path(name)).unwrap(),
        );
        assert_ne!(old.ino(), new.ino());
    }
}

#[test]
fn an_open_writer_sees_the_api_write_as_one_of_another_process() {
    let m = Mount::new();
    for name in ["f", "doc/f"] {
        m.put(name, r#""old""#);
        let writer = OpenOptions::new()
            .read(true)
            .write(true)
            .open(m.path(name))
            .unwrap();
        writer.write_all_at(b"OLD", 0).unwrap();
        m.put(name, r#""from the API""#);
        assert_eq!(writer.metadata().unwrap().len(), 13);
        let mut content = String::new();
        (&writer).read_to_string(&mut content).unwrap();
        assert_eq!(content, "from the API\n");
        writer.write_all_at(b"FROM", 0).unwrap();
        nix::unistd::close(writer).unwrap();
        assert_eq!(m.get(name), edn(r#""FROM the API""#));
    }
}

#[test]
fn the_store_never_shows_a_file_between_its_truncation_and_the_write() {
    let m = Mount::new();
    m.put("n", "42");
    let file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(m.path("n"))
        .unwrap();
    assert_eq!(
        m.read("n"),
        b"",
        "processes of the mount see the truncation"
    );
    assert_eq!(m.get("n"), edn("42"), "the store does not");
    // What a shell does at `> f`: dup, close, write.
    drop(file.try_clone().unwrap());
    assert_eq!(m.get("n"), edn("42"));
    file.write_all_at(b"43\n", 0).unwrap();
    assert_eq!(m.read("n"), b"43\n");
    nix::unistd::close(file).unwrap();
    assert_eq!(m.get("n"), edn("43"));
}

#[test]
fn a_created_file_is_in_the_store_once_it_is_written_or_closed() {
    let m = Mount::new();
    let file = File::create(m.path("f")).unwrap();
    assert!(m.path("f").exists());
    assert!(!m.has("f"), "created and not yet written");
    file.write_all_at(b"x", 0).unwrap();
    nix::unistd::close(file).unwrap();
    assert_eq!(m.get("f"), edn(r#""x""#));
    m.sh("touch empty; mkdir d; touch d/empty");
    m.remount();
    assert_eq!(m.get("empty"), edn(r#""""#));
    assert_eq!(m.get("d"), edn(r#"{"empty" ""}"#));
}

#[test]
fn an_api_write_keeps_mode_and_attributes_where_the_kind_stays() {
    let m = Mount::new();
    m.put("doc", "{:a 1 :b {:c 2}}");
    m.sh(
        "chmod 600 doc/:a; chmod 711 doc/:b; setfattr -n user.x -v y doc/:a
          touch -d '2001-01-01 UTC' doc/:b/:c",
    );
    m.put("doc", "{:a 5 :b {:c 2 :d 3}}");
    m.remount();
    assert_eq!(m.sh("stat -c %a doc/:a doc/:b | tr '\\n' ' '"), "600 711 ");
    assert_eq!(m.sh("getfattr -n user.x --only-values doc/:a"), "y");
    assert_eq!(
        m.sh("stat -c %Y doc/:b/:c"),
        "978307200",
        "an entry that stayed has a new time"
    );
}

#[test]
fn watchers_hear_of_the_removal_of_what_the_kernel_has_forgotten() {
    need_root();
    let m = Mount::new();
    m.sh("mkdir d; echo 1 > d/f");
    let seen = m.sh("
        inotifywait -m -t 3 d > \"$T/seen\" 2> \"$T/up\" &
        until grep -q established \"$T/up\"; do sleep 0.1; done
        sync; echo 2 > /proc/sys/vm/drop_caches
        kfs rm d/f
        wait
        cat \"$T/seen\"");
    assert_eq!(seen, "d/ DELETE f");
}

#[test]
fn watchers_hear_of_what_the_api_makes_and_changes() {
    need_root();
    let m = Mount::new();
    m.sh("mkdir d; echo 1 > d/f; chmod 4755 d/f");
    let seen = m.sh("
        inotifywait -m -t 3 -e create,modify,close_write,attrib,delete d > \"$T/seen\" 2> \"$T/up\" &
        until grep -q established \"$T/up\"; do sleep 0.1; done
        kfs put d/f 1000
        kfs put d/g 5
        wait
        cat \"$T/seen\"; cat d/f; stat -c '%a %s' d/f");
    let expected = "d/ MODIFY f\nd/ CLOSE_WRITE,CLOSE f\nd/ CREATE g\n1000\n4755 5";
    assert_eq!(seen, expected);
}
