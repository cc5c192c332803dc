//! The store.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use konserve_fs::gc::{self, Sweep};
use konserve_fs::store::{CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value};

use super::{MEBIBYTE, Outcome, Subject, leaf, name, text};

pub struct Kfs(Store);

impl Kfs {
    pub fn create(dir: &Path, synced: bool) -> Outcome<Self> {
        let store = Store::create(
            &Location::Embedded(dir.to_owned()),
            &CreateOptions::default(),
        )?;
        Ok(Self(if synced { store } else { store.unsynced() }))
    }
}

fn key(number: u32) -> Key {
    Key::text(&name(number))
}

fn document(leaves: u32) -> Key {
    Key::text(&format!("document-{leaves}"))
}

fn path(leaves: u32, number: u32, round: u32) -> ([Key; 3], Value) {
    let ([first, second], value) = leaf(leaves, number, round);
    let path = [document(leaves), Key::text(&first), Key::text(&second)];
    (path, Value::Text(value))
}

/// A document, with its leaves in two levels.
pub fn value(leaves: u32) -> Value {
    let mut groups: BTreeMap<Key, BTreeMap<Key, Value>> = BTreeMap::new();
    for number in 0..leaves {
        let ([_, first, second], value) = path(leaves, number, 0);
        groups.entry(first).or_default().insert(second, value);
    }
    let groups = groups.into_iter();
    Value::Map(
        groups
            .map(|(key, group)| (key, Value::Map(group)))
            .collect(),
    )
}

impl Subject for Kfs {
    fn put(&self, number: u32, round: u32) -> Outcome<()> {
        Ok(self.0.assoc(&key(number), &Value::Text(text(round)))?)
    }

    fn get(&self, number: u32) -> Outcome<()> {
        match self.0.get(&key(number))? {
            Some(Value::Text(text)) if text.len() == 100 => Ok(()),
            other => Err(format!("{other:?} under {number}").into()),
        }
    }

    fn make(&self, leaves: u32) -> Outcome<()> {
        Ok(self.0.assoc(&document(leaves), &value(leaves))?)
    }

    fn get_in(&self, leaves: u32, number: u32) -> Outcome<()> {
        match self.0.get_in(&path(leaves, number, 0).0)? {
            Some(Value::Text(_)) => Ok(()),
            other => Err(format!("{other:?} in leaf {number}").into()),
        }
    }

    fn assoc_in(&self, leaves: u32, number: u32, round: u32) -> Outcome<()> {
        let (path, value) = path(leaves, number, round);
        Ok(self.0.assoc_in(&path, &value)?)
    }

    fn update_in(&self) -> Outcome<()> {
        self.0.update_in(&[Key::text("counter")], |old| match old {
            None => Ok(Value::Int(1)),
            Some(Value::Int(n)) => Ok(Value::Int(n + 1)),
            Some(_) => Err("no number"),
        })?;
        Ok(())
    }

    fn list(&self) -> Outcome<u32> {
        let mut count = 0;
        for listed in self.0.keys() {
            listed?;
            count += 1;
        }
        Ok(count)
    }

    fn sweep(&self) -> Outcome<u32> {
        let sweep = Sweep {
            cutoff: self.0.now(),
            keep: HashSet::new(),
            dry_run: false,
        };
        let gone = gc::sweep(&self.0, &sweep, &AtomicBool::new(false))?;
        Ok(u32::try_from(gone.len())?)
    }

    fn put_binary(&self, number: u32, bytes: &[u8]) -> Outcome<()> {
        Ok(self.0.bassoc(&Key::index(u64::from(number)), bytes)?)
    }

    fn get_binary(&self, number: u32) -> Outcome<()> {
        let mut bytes = Vec::with_capacity(MEBIBYTE);
        if let Some(mut reader) = self.0.bget(&Key::index(u64::from(number)), None)? {
            reader.read_to_end(&mut bytes)?;
        }
        if bytes.len() == MEBIBYTE {
            Ok(())
        } else {
            Err(format!("{} bytes under {number}", bytes.len()).into())
        }
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.0.settle()?)
    }

    fn is_bare(&self) -> bool {
        false
    }
}
