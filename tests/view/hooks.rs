//! Write hooks and the files.

use std::sync::Arc;

use konserve_fs::store::Write;
use konserve_fs::value::edn;
use parking_lot::Mutex;

use super::harness::Side;

#[test]
fn what_is_done_with_files_is_told_of_as_the_store_names_it() {
    let s = Side::new();
    s.assoc("n", "1");
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&told);
    let hook = move |w: &Write| {
        let path: Vec<_> = w
            .key_path()
            .iter()
            .map(|k| edn::print(&k.value()))
            .collect();
        let text = |v: Option<_>| v.map_or("-".to_owned(), |v| edn::print(&v));
        to.lock().push(format!(
            "{} {} {} -> {}",
            w.api_op.name(),
            path.join("/"),
            text(w.old_value().unwrap()),
            text(w.value().unwrap())
        ));
    };
    s.store.add_write_hook("files", Arc::new(hook));
    let done = |expected: &[&str]| assert_eq!(std::mem::take(&mut *told.lock()), expected);

    s.put("a", "text");
    done(&["assoc-in \"a\" - -> \"text\""]);
    s.put("n", "2\n");
    done(&["assoc-in \"n\" 1 -> 2"]);
    s.mkdir("d");
    s.put("d/x", "1");
    done(&["assoc-in \"d\" - -> {}", "assoc-in \"d\"/\"x\" - -> \"1\""]);
    s.rename("d/x", "n").unwrap();
    done(&["rename \"d\"/\"x\" \"1\" -> -"]);
    s.unlink("a").unwrap();
    s.rmdir("d").unwrap();
    done(&["dissoc \"a\" \"text\" -> -", "dissoc \"d\" {} -> -"]);
    // Attributes are no values.
    s.chmod(s.ino("n"), 0o600);
    s.touch("n", 1_000_000_000);
    done(&[]);
}
