//! Listing the addresses of all files in order, with little memory.
//!
//! The directories are in no order, so a page of a list needs a look at every name. To look less
//! often, one look keeps the next [`WINDOW`] addresses, and whoever makes or removes a file keeps
//! that window right. A list of n addresses of one kind (one first byte) so costs n / [`WINDOW`]
//! looks at n names: for 1 000 000 addresses 16 looks, in 10 MB of memory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::blob;
use super::name::{self, BLOBS, Named};
use crate::backend::{BackendError, Deadline, Operation, Result};
use crate::journal::regular;

/// How many addresses are kept.
const WINDOW: usize = 65_536;

/// The addresses of files between two bounds.
#[derive(Debug, Default)]
pub struct Window {
    addresses: BTreeSet<Vec<u8>>,
    /// Where it begins, and ends: before this address, if it does.
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    known: bool,
}

impl Window {
    /// The file of an address was made or removed.
    pub fn note(&mut self, address: &[u8], there: bool) {
        if !self.covers(address) {
            return;
        }
        if !there {
            self.addresses.remove(address);
        } else if !self.addresses.contains(address) {
            self.addresses.insert(address.to_vec());
            if self.addresses.len() > 2 * WINDOW {
                *self = Self::default();
            }
        }
    }

    /// Up to `count` addresses from `at` on, before `end`.
    pub fn page(
        &mut self,
        root: &Path,
        at: &[u8],
        end: Option<&[u8]>,
        count: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let mut at = at.to_vec();
        let mut found = Vec::new();
        while found.len() < count && end.is_none_or(|end| at.as_slice() < end) {
            if !self.covers(&at) {
                *self = Self::default();
                *self = look(root, at.clone(), end, deadline)?;
            }
            let here = self.addresses.range(at..);
            let here = here.take_while(|address| end.is_none_or(|end| address.as_slice() < end));
            found.extend(here.take(count - found.len()).cloned());
            let Some(to) = &self.to else {
                break;
            };
            at = to.clone();
        }
        Ok(found)
    }

    fn covers(&self, address: &[u8]) -> bool {
        self.known && *address >= *self.from && self.to.as_deref().is_none_or(|to| address < to)
    }
}

/// The window that begins at `from`. It does not go beyond addresses with one first byte, and not
/// far beyond `end`.
fn look(root: &Path, from: Vec<u8>, end: Option<&[u8]>, deadline: Deadline) -> Result<Window> {
    let mut window = Window {
        known: true,
        from,
        ..Window::default()
    };
    let first = window.from.first().copied().unwrap_or(0);
    for group in groups(&root.join(BLOBS))? {
        let beyond = end.is_some_and(|end| end <= [group].as_slice());
        if group < first || beyond {
            continue;
        }
        window.to = None;
        fill(
            &mut window,
            &root.join(BLOBS).join(format!("{group:02x}")),
            deadline,
        )?;
        if window.to.is_none() {
            window.to = group.checked_add(1).map(|next| vec![next]);
        }
        if !window.addresses.is_empty() {
            return Ok(window);
        }
    }
    // There is nothing from here on, up to the end.
    window.to = end.map(<[u8]>::to_vec);
    Ok(window)
}

/// Puts the first addresses of a group, from the window's beginning on, into the window.
fn fill(window: &mut Window, group: &Path, deadline: Deadline) -> Result<()> {
    let mut seen = 0_usize;
    for fan in names(group)? {
        let dir = group.join(&fan);
        for entry in fs::read_dir(&dir).map_err(|e| failed(&dir, e))? {
            seen += 1;
            if seen.is_multiple_of(4096) {
                deadline.check(Operation::List, &window.from)?;
            }
            let file_name = entry.map_err(|e| failed(&dir, e))?.file_name();
            let Some(named) = file_name.to_str().and_then(name::parse) else {
                continue;
            };
            let address = match named {
                Named::Whole(address) => address,
                Named::Beginning(_) => address_in(&dir.join(&file_name))?,
            };
            let is_before = |bound: &Vec<u8>| address < *bound;
            if address < window.from || !window.to.as_ref().is_none_or(is_before) {
                continue;
            }
            window.addresses.insert(address);
            if window.addresses.len() > WINDOW {
                window.to = window.addresses.pop_last();
            }
        }
    }
    Ok(())
}

/// The first bytes that there are groups for, in order.
fn groups(blobs: &Path) -> Result<Vec<u8>> {
    let mut groups: Vec<u8> = names(blobs)?
        .iter()
        .filter_map(|name| u8::from_str_radix(name, 16).ok())
        .collect();
    groups.sort_unstable();
    Ok(groups)
}

/// The directories in `dir` whose names are two hexadecimal digits.
fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| failed(dir, e))? {
        let entry = entry.map_err(|e| failed(dir, e))?;
        let is_ours = |name: &String| {
            name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let Some(name) = entry.file_name().into_string().ok().filter(is_ours) else {
            continue;
        };
        // What is behind a link would be somebody else's, and without it keys would be missing.
        if !entry.file_type().map_err(|e| failed(dir, e))?.is_dir() {
            return Err(BackendError::Damage {
                operation: Operation::List,
                address: entry.path().as_os_str().as_encoded_bytes().into(),
                reason: "it is no directory".to_owned(),
            });
        }
        names.push(name);
    }
    Ok(names)
}

/// The address that stands in a file.
fn address_in(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let damage = |reason: String| BackendError::Damage {
        operation: Operation::List,
        address: path.as_os_str().as_encoded_bytes().into(),
        reason,
    };
    let file = regular::open(path).map_err(|e| failed(path, e))?;
    let file = file.ok_or_else(|| damage(regular::OTHER.to_owned()))?;
    file.take(blob::LONGEST_HEAD as u64)
        .read_to_end(&mut head)
        .map_err(|e| failed(path, e))?;
    let address = blob::address_in(&head).map_err(damage)?;
    Ok(address.to_vec())
}

fn failed(path: &Path, source: io::Error) -> BackendError {
    BackendError::io(Operation::List, path.as_os_str().as_encoded_bytes(), source)
}
