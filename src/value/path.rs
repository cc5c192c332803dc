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
