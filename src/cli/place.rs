//! Where a command works: a store and a path in it, as written on the command line.
//!
//! `STORE PATH`, or a path inside a mount, which stands for both. A path is a sequence of names, as
//! the mount shows them; what keys they mean is found out where the store is.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::CliError;
use super::output::printable;
use crate::fuse::{MountEntry, mounts};
use crate::store::{Location, Store};

/// A byte string in a message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// The way to an entry: names as the mount shows them. Empty, it is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamePath(pub Vec<Bytes>);

impl NamePath {
    /// Reads `user/name`. Slashes at the ends or doubled mean nothing.
    pub(super) fn parse(path: &OsStr) -> Result<Self, CliError> {
        let mut names = Vec::new();
        for name in path.as_bytes().split(|b| *b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    let message = format!(
                        "{}: `..` does not lead up within a store; the text key \"..\" is written %s..",
                        path.display()
                    );
                    return Err(CliError::usage(message));
                }
                name => names.push(Bytes(name.to_vec())),
            }
        }
        Ok(Self(names))
    }

    /// This path and then another.
    pub(super) fn join(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The last name.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.0.last().map(|name| name.0.as_slice())
    }

    /// The path of something in here.
    pub(super) fn child(&self, name: &[u8]) -> Self {
        let mut names = self.0.clone();
        names.push(Bytes(name.to_vec()));
        Self(names)
    }

    /// Whether it is the root.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for NamePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        for (i, name) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            f.write_str(&printable(&name.0))?;
        }
        Ok(())
    }
}

/// A store, or a path in a mounted one.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store.
    pub store: StoreAt,
    /// The path in it.
    pub path: NamePath,
}

/// How a store was named.
#[derive(Clone, Debug)]
pub enum StoreAt {
    /// By its location.
    Location(Location),
    /// By a path in its mount.
    Mount(MountEntry),
}

impl Place {
    /// Reads `STORE` or a path inside a mount.
    pub(super) fn parse(text: &OsStr) -> Result<Self, CliError> {
        let has_scheme = Location::DIRECTORIES
            .iter()
            .map(|(scheme, _)| *scheme)
            .chain(["mem:"])
            .any(|scheme| text.as_bytes().starts_with(scheme.as_bytes()));
        if !has_scheme && let Some((entry, path)) = in_mount(Path::new(text)) {
            return Ok(Self {
                store: StoreAt::Mount(entry),
                path,
            });
        }
        Ok(Self {
            store: StoreAt::Location(location(text)?),
            path: NamePath::default(),
        })
    }

    /// `STORE [PATH]`, where a path inside a mount is both.
    pub(super) fn with_path(store: &OsStr, path: Option<&OsStr>) -> Result<Self, CliError> {
        let mut place = Self::parse(store)?;
        if let Some(path) = path {
            place.path = place.path.join(NamePath::parse(path)?);
        }
        Ok(place)
    }

    /// As [`Place::with_path`]; the root is refused with the verb's synopsis.
    pub(super) fn below_root(
        store: &OsStr,
        path: Option<&OsStr>,
        synopsis: &str,
    ) -> Result<Self, CliError> {
        let place = Self::with_path(store, path)?;
        if place.path.is_root() {
            return Err(CliError::usage(format!(
                "{}: PATH is missing; write {synopsis}, or a path inside a mount for STORE PATH",
                store.display()
            )));
        }
        Ok(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            StoreAt::Location(location) => write!(f, "{location}")?,
            StoreAt::Mount(entry) => write!(f, "{}", entry.point.display())?,
        }
        if self.path.is_root() {
            Ok(())
        } else {
            write!(f, " {}", self.path)
        }
    }
}

/// Where a store is that is held here. One that lies over another is where what is written is: the other
/// may be held by others, too, and shows something else.
pub(super) fn of(store: &Store) -> Location {
    let overlay = store.overlay();
    overlay.map_or_else(
        || store.location().clone(),
        |dir| Location::Embedded(dir.to_owned()),
    )
}

/// A store's location, absolute, so that it means the same to a process elsewhere. A path without a
/// scheme is the store that is there, of whatever kind.
pub(super) fn location(text: &OsStr) -> Result<Location, CliError> {
    let parsed = match text.to_str() {
        Some(text) => Location::parse(text)?,
        None => Location::DIRECTORIES
            .iter()
            .find_map(|(scheme, of_directory)| {
                let path = text.as_bytes().strip_prefix(scheme.as_bytes())?;
                Some(of_directory(PathBuf::from(OsStr::from_bytes(path))))
            })
            .unwrap_or_else(|| Location::Embedded(PathBuf::from(text))),
    };
    Ok(match parsed {
        Location::Embedded(path) if text == path => {
            let path = absolute(&path);
            Location::DIRECTORIES
                .iter()
                .map(|(_, of_directory)| of_directory(path.clone()))
                .find(Store::exists)
                .unwrap_or(Location::Embedded(path))
        }
        Location::Embedded(path) => Location::Embedded(absolute(&path)),
        Location::File(path) => Location::File(absolute(&path)),
        Location::Lmdb(path) => Location::Lmdb(absolute(&path)),
        Location::RocksDb(path) => Location::RocksDb(absolute(&path)),
        other @ (Location::Custom(_) | Location::Memory(_)) => other,
    })
}

/// Without symlinks where it exists, else absolute as it is written.
pub(super) fn absolute(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// The mount that a path leads into, and the names of the rest of the path. Symbolic links are
/// followed on the way to the mount, but not inside it, where they are values.
fn in_mount(path: &Path) -> Option<(MountEntry, NamePath)> {
    let absolute = if path.is_absolute() {
        path.to_owned()
    } else {
        std::env::current_dir().ok()?.join(path)
    };
    let mounts: Vec<MountEntry> = mounts().ok()?;
    // Only the topmost of several mounts at one place can be reached.
    let at = |here: &Path| {
        mounts
            .iter()
            .rfind(|entry| entry.point == here)
            .filter(|entry| entry.is_kfs())
    };
    let mut here = PathBuf::new();
    let mut inside: Option<(MountEntry, Vec<OsString>)> = None;
    for component in absolute.components() {
        match (&mut inside, component) {
            (Some((_, names)), Component::ParentDir) => {
                if names.pop().is_none() {
                    here.pop();
                    inside = None;
                }
            }
            (Some((_, names)), Component::Normal(name)) => names.push(name.to_owned()),
            (Some(_), _) => {}
            (None, component) => {
                here.push(component);
                // The mountpoint itself is not looked into: nobody may answer there.
                if let Some(entry) = at(&here) {
                    inside = Some((entry.clone(), Vec::new()));
                    continue;
                }
                here = here.canonicalize().ok()?;
                if let Some(entry) = at(&here) {
                    inside = Some((entry.clone(), Vec::new()));
                }
            }
        }
    }
    let (entry, names) = inside?;
    let below = NamePath::parse(entry.root.as_os_str()).ok()?;
    let names = names
        .into_iter()
        .map(|name| Bytes(name.into_vec()))
        .collect();
    Some((entry, below.join(NamePath(names))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<String> {
        let path = NamePath::parse(OsStr::new(path)).unwrap();
        path.0
            .iter()
            .map(|n| String::from_utf8(n.0.clone()).unwrap())
            .collect()
    }

    #[test]
    fn a_path_is_its_names_whatever_the_slashes() {
        assert_eq!(names("user/name"), ["user", "name"]);
        assert_eq!(names("/user//name/"), ["user", "name"]);
        assert_eq!(names("./:kw/%i42"), [":kw", "%i42"]);
        assert!(names("/").is_empty());
    }

    #[test]
    fn two_dots_lead_nowhere_in_a_store() {
        let error = NamePath::parse(OsStr::new("a/../b")).unwrap_err();
        assert!(error.to_string().contains("%s.."), "{error}");
    }

    #[test]
    fn a_path_outside_mounts_is_a_location() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::with_path(dir.path().as_os_str(), Some(OsStr::new("a/b"))).unwrap();
        assert!(matches!(
            place.store,
            StoreAt::Location(Location::Embedded(_))
        ));
        assert_eq!(place.path.to_string(), "a/b");
    }

    #[test]
    fn a_verb_that_needs_a_path_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            Place::below_root(dir.path().as_os_str(), None, "kfs get STORE PATH").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("PATH is missing; write kfs get STORE PATH"),
            "{error}"
        );
    }

    #[test]
    fn a_path_that_is_not_utf8_keeps_its_bytes() {
        let path = NamePath::parse(OsStr::from_bytes(b"a/\xff")).unwrap();
        assert_eq!(path.last(), Some(&b"\xff"[..]));
        assert_eq!(path.to_string(), "a/\u{fffd}");
    }
}
