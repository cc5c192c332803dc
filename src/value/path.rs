//! Reading and changing a nested value by the path to it.
//!
//! A step goes into a map by key, or into a vector by index (a key that is an integer from 0).
//! A stored `nil` or `false` is a value like any other: only what is absent is `None`.

use super::{Key, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a path leads nowhere. `position` counts the steps before the failing one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The value reached is neither a map nor a vector (nor nil), so it has nothing inside.
    #[error("step {position} of the path, {key}: there is no map or vector to go into")]
    NotACollection {
        /// The failing step.
        position: usize,
        /// Its key.
        key: Key,
    },
    /// The value reached is a vector, and the key is no index.
    #[error("step {position} of the path, {key}: a vector takes integers from 0")]
    NotAnIndex {
        /// The failing step.
        position: usize,
        /// Its key.
        key: Key,
    },
    /// A write beyond the place after the last element.
    #[error("step {position} of the path: index {index} in a vector of {length}")]
    BeyondEnd {
        /// The failing step.
        position: usize,
        /// The index asked for.
        index: u64,
        /// Elements in the vector.
        length: usize,
    },
}

/// The value at `path`, or `None` if the path ends in something absent.
pub fn get_in<'v>(value: &'v Value, path: &[Key]) -> Result<Option<&'v Value>, PathError> {
    let mut here = value;
    for (position, key) in path.iter().enumerate() {
        let next = match here {
            Value::Map(map) => map.get(key),
            Value::Vector(elements) => {
                let index = index_at(position, key)?;
                usize::try_from(index)
                    .ok()
                    .and_then(|index| elements.get(index))
            }
            Value::Nil => None,
            _ => {
                return Err(PathError::NotACollection {
                    position,
                    key: key.clone(),
                });
            }
        };
        match next {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

/// The value with `new` at `path`. Maps are made where the path leads through something absent or
/// nil; a vector grows by its next index only. With an empty path it is `new` itself.
pub fn assoc_in(mut value: Value, path: &[Key], new: Value) -> Result<Value, PathError> {
    *place_in(&mut value, path)? = new;
    Ok(value)
}

/// The value without what is at `path`, and what was there. Removing the last element of a vector
/// shortens it; any other leaves nil, so that no element moves. With an empty path, nil remains.
pub fn dissoc_in(mut value: Value, path: &[Key]) -> Result<(Value, Option<Value>), PathError> {
    let Some((last, way)) = path.split_last() else {
        return Ok((Value::Nil, Some(value)));
    };
    if get_in(&value, path)?.is_none() {
        return Ok((value, None));
    }
    let removed = match place_in(&mut value, way)? {
        Value::Map(map) => map.remove(last),
        Value::Vector(elements) => remove_element(elements, index_at(way.len(), last)?),
        _ => None,
    };
    Ok((value, removed))
}

/// The value with what `f` makes of the one at `path` (`None` if absent) in its place.
pub fn update_in<E: From<PathError>>(
    value: Value,
    path: &[Key],
    f: impl FnOnce(Option<&Value>) -> Result<Value, E>,
) -> Result<Value, E> {
    let new = f(get_in(&value, path)?)?;
    Ok(assoc_in(value, path, new)?)
}

/// The place at `path`, made where it is absent. Nothing has changed if it fails: what can fail
/// are steps into what was there before.
fn place_in<'v>(value: &'v mut Value, path: &[Key]) -> Result<&'v mut Value, PathError> {
    let mut here = value;
    for (position, key) in path.iter().enumerate() {
        if matches!(here, Value::Nil) {
            *here = Value::Map(BTreeMap::new());
        }
        here = match here {
            Value::Map(map) => map.entry(key.clone()).or_insert(Value::Nil),
            Value::Vector(elements) => {
                let (index, length) = (index_at(position, key)?, elements.len());
                if index == length as u64 {
                    elements.push(Value::Nil);
                }
                let place = usize::try_from(index)
                    .ok()
                    .and_then(|index| elements.get_mut(index));
                place.ok_or(PathError::BeyondEnd {
                    position,
                    index,
                    length,
                })?
            }
            _ => {
                return Err(PathError::NotACollection {
                    position,
                    key: key.clone(),
                });
            }
        };
    }
    Ok(here)
}

fn remove_element(elements: &mut Vec<Value>, index: u64) -> Option<Value> {
    if index + 1 == elements.len() as u64 {
        return elements.pop();
    }
    let element = elements.get_mut(usize::try_from(index).ok()?)?;
    Some(std::mem::replace(element, Value::Nil))
}

fn index_at(position: usize, key: &Key) -> Result<u64, PathError> {
    key.as_index().ok_or_else(|| PathError::NotAnIndex {
        position,
        key: key.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;
    use crate::value::{KeyPath, edn};

    fn edn(text: &str) -> Value {
        edn::parse(text).unwrap()
    }

    /// The keys in an EDN vector.
    fn path(text: &str) -> KeyPath {
        match edn(text) {
            Value::Vector(keys) => keys.iter().map(Key::new).collect(),
            _ => KeyPath::new(),
        }
    }

    fn got(value: &str, at: &str) -> Result<Option<String>, PathError> {
        Ok(get_in(&edn(value), &path(at))?.map(edn::print))
    }

    fn put(value: &str, at: &str, new: &str) -> Result<String, PathError> {
        assoc_in(edn(value), &path(at), edn(new)).map(|value| edn::print(&value))
    }

    fn removed(value: &str, at: &str) -> Result<(String, Option<String>), PathError> {
        let (value, removed) = dissoc_in(edn(value), &path(at))?;
        Ok((edn::print(&value), removed.as_ref().map(edn::print)))
    }

    #[test]
    fn a_stored_nil_or_false_is_a_value_and_not_absence() {
        assert_eq!(got("{:a nil}", "[:a]"), Ok(Some("nil".into())));
        assert_eq!(got("{:a false}", "[:a]"), Ok(Some("false".into())));
        assert_eq!(got("{:a nil}", "[:b]"), Ok(None));
        assert_eq!(got("{:a nil}", "[:a :b]"), Ok(None));
        assert_eq!(got("[nil]", "[0]"), Ok(Some("nil".into())));
        assert_eq!(got("[nil]", "[1]"), Ok(None));
    }

    #[test]
    fn the_empty_path_means_the_value_itself() {
        assert_eq!(got("1", "[]"), Ok(Some("1".into())));
        assert_eq!(put("1", "[]", "2"), Ok("2".into()));
        assert_eq!(removed("1", "[]"), Ok(("nil".into(), Some("1".into()))));
    }

    #[test]
    fn maps_are_made_through_nil_and_what_is_missing() {
        assert_eq!(put("nil", "[:a 0]", "1"), Ok("{:a {0 1}}".into()));
        assert_eq!(put("{:a nil}", "[:a :b]", "1"), Ok("{:a {:b 1}}".into()));
        assert_eq!(put("[]", "[0 :a]", "1"), Ok("[{:a 1}]".into()));
    }

    #[test]
    fn a_vector_grows_by_its_next_index_only() {
        assert_eq!(put("[1]", "[1]", "2"), Ok("[1 2]".into()));
        assert_eq!(put("[1]", "[0]", "2"), Ok("[2]".into()));
        let beyond = PathError::BeyondEnd {
            position: 1,
            index: 2,
            length: 1,
        };
        assert_eq!(put("{:a [1]}", "[:a 2]", "2"), Err(beyond));
        let most = PathError::BeyondEnd {
            position: 0,
            index: u64::MAX,
            length: 0,
        };
        assert_eq!(put("[]", "[18446744073709551615]", "2"), Err(most));
    }

    #[test]
    fn a_key_that_is_no_index_cannot_go_into_a_vector() {
        for key in ["-1", "\"0\"", ":a", "0.0", "18446744073709551616"] {
            let error = PathError::NotAnIndex {
                position: 0,
                key: Key::new(&edn(key)),
            };
            let at = format!("[{key}]");
            assert_eq!(got("[1]", &at), Err(error.clone()));
            assert_eq!(put("[1]", &at, "2"), Err(error.clone()));
            assert_eq!(removed("[1]", &at), Err(error));
        }
    }

    #[test]
    fn a_path_through_a_scalar_names_the_step() {
        for scalar in ["1", "\"text\"", "#{1}", "(1)", "#a {:c 1}"] {
            let value = format!("{{:a [{scalar}]}}");
            let error = PathError::NotACollection {
                position: 2,
                key: Key::new(&edn(":c")),
            };
            assert_eq!(got(&value, "[:a 0 :c :d]"), Err(error.clone()));
            assert_eq!(put(&value, "[:a 0 :c :d]", "1"), Err(error.clone()));
            assert_eq!(removed(&value, "[:a 0 :c :d]"), Err(error));
        }
    }

    #[test]
    fn removing_an_element_moves_no_other() {
        assert_eq!(
            removed("[1 2 3]", "[1]"),
            Ok(("[1 nil 3]".into(), Some("2".into())))
        );
        assert_eq!(
            removed("[1 2 3]", "[2]"),
            Ok(("[1 2]".into(), Some("3".into())))
        );
        assert_eq!(removed("[1]", "[7]"), Ok(("[1]".into(), None)));
        assert_eq!(
            removed("{:a {:b nil}}", "[:a :b]"),
            Ok(("{:a {}}".into(), Some("nil".into())))
        );
    }

    #[test]
    fn an_update_that_fails_gives_its_own_error() {
        #[derive(Debug, PartialEq, Eq)]
        enum Failure {
            Path,
            Update(Option<Value>),
        }
        impl From<PathError> for Failure {
            fn from(_: PathError) -> Self {
                Self::Path
            }
        }
        let fail = |old: Option<&Value>| Err(Failure::Update(old.cloned()));
        let at = |value: &str, at: &str| update_in(edn(value), &path(at), fail);
        assert_eq!(
            at("{:a 1}", "[:a]"),
            Err(Failure::Update(Some(Value::Int(1))))
        );
        assert_eq!(at("{:a 1}", "[:b]"), Err(Failure::Update(None)));
        assert_eq!(at("{:a 1}", "[:a :b]"), Err(Failure::Path));
    }
}
