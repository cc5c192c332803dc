//! Symbolic links.

use super::super::special;
use super::super::types::{Attr, Caller, Ino};
use super::super::{Result, View, ViewError};

/// The longest target of a symbolic link.
const MAX_TARGET: usize = 4095;

impl View {
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`ViewError::Exists`]; [`ViewError::NameTooLong`].
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attr> {
        if target.len() > MAX_TARGET {
            return Err(ViewError::NameTooLong { name: name.into() });
        }
        if target.is_empty() {
            return Err(ViewError::invalid("symlink", "the target is empty"));
        }
        self.make(caller, parent, name, special::symlink(target), 0o777, 0)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`ViewError::Invalid`] for anything else.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        let found = self.current(&inode, &mut inode.work.lock())?;
        special::target(&found.entry.node)
            .ok_or_else(|| ViewError::invalid("readlink", "this is no symbolic link"))
    }
}
