//! An index that is kept by a write hook: `cargo run --example hook`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use konserve_fs::store::{CreateOptions, Location, Store, Write, WriteHook};
use konserve_fs::value::{Key, Value};

/// Which keys hold a text.
#[derive(Default)]
struct ByText(Mutex<BTreeMap<String, Vec<Key>>>);

impl WriteHook for ByText {
    fn written(&self, write: &Write) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in write.keys() {
            let path = std::slice::from_ref(key);
            if let Ok(Some(Value::Text(text))) = write.old_at(path)
                && let Some(keys) = index.get_mut(&text)
            {
                keys.retain(|other| other != key);
            }
            if let Ok(Some(Value::Text(text))) = write.new_at(path) {
                index.entry(text).or_default().push(key.clone());
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::create(&Location::parse("mem:")?, &CreateOptions::default())?;
    let index = Arc::new(ByText::default());
    store.add_write_hook("by text", Arc::clone(&index) as Arc<dyn WriteHook>);

    let text = |text: &str| Value::Text(text.to_owned());
    store.assoc(&Key::text("a"), &text("red"))?;
    store.assoc(&Key::text("b"), &text("red"))?;
    store.assoc(&Key::text("a"), &text("blue"))?;
    store.swap(&[Key::text("a")], &[Key::text("b")])?;

    let found = index
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    println!("{found:?}");
    let of = |text: &str| found.get(text).cloned().unwrap_or_default();
    assert_eq!(of("red"), [Key::text("a")]);
    assert_eq!(of("blue"), [Key::text("b")]);
    Ok(())
}
