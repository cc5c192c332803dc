//! Paths into plain values.

use super::entropy::{Entropy, bytes};
use konserve_fs::value::path::{PathError, assoc_in, dissoc_in, get_in, update_in};
use konserve_fs::value::{Key, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A value that can be gone into, a path, and what the rest of the bytes make.
fn place(bytes: &[u8]) -> (Value, Vec<Key>, Entropy<'_>) {
    let mut entropy = Entropy::new(bytes);
    let count = entropy.below(4);
    let value = match entropy.below(4) {
        0 => entropy.value(),
        1 => Value::Vector((0..count).map(|_| entropy.value()).collect()),
        _ => Value::Map(
            (0..count)
                .map(|_| (entropy.key(), entropy.value()))
                .collect::<BTreeMap<_, _>>(),
        ),
    };
    let path = entropy.path(&value);
    (value, path, entropy)
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn what_is_put_somewhere_is_found_there(bytes in bytes()) {
        let (value, path, mut more) = place(&bytes);
        let new = more.value();
        if let Ok(changed) = assoc_in(value.clone(), &path, new.clone()) {
            prop_assert_eq!(get_in(&changed, &path).unwrap(), Some(&new));
            // Putting what was there back, if anything was, gives the old value.
            if let Some(old) = get_in(&value, &path).unwrap() {
                prop_assert_eq!(assoc_in(changed, &path, old.clone()).unwrap(), value);
            }
        }
    }

    #[test]
    fn putting_what_is_there_changes_nothing(bytes in bytes()) {
        let (value, path, _) = place(&bytes);
        if let Ok(Some(here)) = get_in(&value, &path) {
            prop_assert_eq!(assoc_in(value.clone(), &path, here.clone()).unwrap(), value);
        }
    }

    #[test]
    fn the_last_of_two_writes_stays(bytes in bytes()) {
        let (value, path, mut more) = place(&bytes);
        let (first, last) = (more.value(), more.value());
        if let Ok(once) = assoc_in(value.clone(), &path, first) {
            prop_assert_eq!(
                assoc_in(once, &path, last.clone()).unwrap(),
                assoc_in(value, &path, last).unwrap()
            );
        }
    }

    #[test]
    fn a_write_elsewhere_changes_nothing_here(bytes in bytes()) {
        let (value, path, mut more) = place(&bytes);
        let other = more.path(&value);
        let apart = !path.starts_with(&other) && !other.starts_with(&path);
        let before = get_in(&value, &path).map(Option::<&Value>::cloned);
        if apart && let Ok(changed) = assoc_in(value, &other, more.value()) {
            let after = get_in(&changed, &path).map(Option::<&Value>::cloned);
            if let (Ok(before), Ok(after)) = (before, after) {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn a_path_is_walked_step_by_step(bytes in bytes()) {
        let (value, path, mut more) = place(&bytes);
        let (head, tail) = path.split_at(more.below(path.len() + 1));
        let stepwise = match get_in(&value, head) {
            Ok(Some(inner)) => get_in(inner, tail).map_err(|_| ()),
            Ok(None) => Ok(None),
            Err(_) => Err(()),
        };
        prop_assert_eq!(get_in(&value, &path).map_err(|_| ()), stepwise);
    }

    #[test]
    fn what_is_removed_is_gone_and_given_back(bytes in bytes()) {
        let (value, path, _) = place(&bytes);
        let here = get_in(&value, &path).map(Option::<&Value>::cloned);
        match (dissoc_in(value.clone(), &path), here) {
            (Ok((changed, removed)), Ok(here)) => {
                prop_assert_eq!(&removed, &here);
                let after = get_in(&changed, &path).unwrap();
                prop_assert!(matches!(after, None | Some(Value::Nil)));
                if here.is_none() {
                    prop_assert_eq!(changed, value);
                }
            }
            (Err(removing), Err(reading)) => prop_assert_eq!(removing, reading),
            (removing, reading) => prop_assert!(false, "{:?} {:?}", removing, reading),
        }
    }

    #[test]
    fn an_update_sees_what_is_there_and_its_result_is_put_there(bytes in bytes()) {
        let (value, path, mut more) = place(&bytes);
        let new = more.value();
        let mut seen = None;
        let updated = update_in(value.clone(), &path, |old| {
            seen = Some(old.cloned());
            Ok::<_, PathError>(new.clone())
        });
        match get_in(&value, &path) {
            Ok(old) => prop_assert_eq!(seen, Some(old.cloned())),
            Err(_) => prop_assert_eq!(seen, None),
        }
        prop_assert_eq!(updated.ok(), assoc_in(value, &path, new).ok());
    }
}
