//! What a failed flush or merge leaves behind.
//!
//! The engine removes files that belong to no version of the tree when it is opened, and not
//! before. On a full disk that would be too late: each attempt to flush would leave one more
//! unfinished table.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use lsm_tree::{AbstractTree, AnyTree};
use tracing::debug;

/// The engine's directories of numbered files.
pub const TABLES: &str = "tables";
pub const BLOBS: &str = "blobs";

/// The files that there were before a step.
pub struct Before {
    tables: HashSet<OsString>,
}

impl Before {
    pub fn look(dir: &Path) -> Self {
        Self {
            tables: names(&dir.join(TABLES)),
        }
    }

    /// Removes the files that have come since and that the tree does not use. No step may be
    /// under way.
    pub fn remove_since(&self, dir: &Path, tree: &AnyTree) {
        let version = tree.current_version();
        let tables: HashSet<u64> = version.iter_tables().map(lsm_tree::Table::id).collect();
        remove(&dir.join(TABLES), &self.tables, |id| tables.contains(&id));
    }
}

fn names(dir: &Path) -> HashSet<OsString> {
    let Ok(entries) = fs::read_dir(dir) else {
        return HashSet::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect()
}

fn remove(dir: &Path, before: &HashSet<OsString>, used: impl Fn(u64) -> bool) {
    for name in names(dir).difference(before) {
        let number = name.to_str().and_then(|name| name.parse().ok());
        if number.is_some_and(|number| !used(number)) {
            let removed = fs::remove_file(dir.join(name));
            debug!(
                "removing what a failed step left: {}/{name:?}: {removed:?}",
                dir.display()
            );
        }
    }
}
