//! The files of a tree under other names, for an engine that is to change none of them.
//!
//! The engine (lsm-tree 3.1) cannot open a tree for reading only: it removes what does not belong
//! to the tree's last version, and removing takes the permission to write. So a reader gives it a
//! directory of its own, outside of the store, with a link to each file of that version:
//!
//! ```text
//! TMP/kfs-read-XXXXXX/current     -> DIR/engine/tree/current
//! TMP/kfs-read-XXXXXX/vN          -> DIR/engine/tree/vN
//! TMP/kfs-read-XXXXXX/tables/1    -> DIR/engine/tree/tables/1, and so on
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::leftovers::TABLES;
use super::manifest::{self, CURRENT, Manifest};
use crate::backend::{BackendError, Operation, Result};

/// The directory of links. Removed when dropped.
#[derive(Debug)]
pub struct Mirror {
    dir: PathBuf,
    /// How many tables the tree has.
    pub tables: usize,
}

impl Mirror {
    /// Links to the files of the tree in `tree`, after checking them.
    pub fn of(tree: &Path) -> Result<Self> {
        let (path, Manifest { tables, .. }) = manifest::verify_all(tree)?;
        let template = std::env::temp_dir().join("kfs-read-XXXXXX");
        let failed = |dir: &Path, error| {
            BackendError::io(Operation::Open, dir.as_os_str().as_encoded_bytes(), error)
        };
        let dir = nix::unistd::mkdtemp(&template).map_err(|e| failed(&template, e.into()))?;
        let mirror = Self {
            dir,
            tables: tables.len(),
        };
        mirror
            .link(tree, &path, tables.into_keys())
            .map_err(|error| failed(&mirror.dir, error))?;
        Ok(mirror)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn link(
        &self,
        tree: &Path,
        manifest: &Path,
        tables: impl Iterator<Item = u64>,
    ) -> io::Result<()> {
        let tree = std::path::absolute(tree)?;
        let link = |name: &Path| symlink(tree.join(name), self.dir.join(name));
        link(Path::new(CURRENT))?;
        manifest
            .file_name()
            .map_or(Ok(()), |name| link(name.as_ref()))?;
        fs::create_dir(self.dir.join(TABLES))?;
        for table in tables {
            link(&Path::new(TABLES).join(table.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, "{} stays behind", self.dir.display());
        }
    }
}
