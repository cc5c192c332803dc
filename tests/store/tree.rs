//! Documents as trees of pages, against a plain map.

use std::collections::BTreeMap;

use konserve_fs::store::{CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u16, i64),
    Remove(u16),
    Fold,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..600u16, any::<i64>()).prop_map(|(k, v)| Step::Put(k, v)),
        4 => (0..600u16).prop_map(Step::Remove),
        1 => Just(Step::Fold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_document_is_what_a_plain_map_is(steps in prop::collection::vec(step(), 1..1200)) {
        let s = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap().unsynced();
        let top = Key::text("doc");
        s.assoc(&top, &Value::Map(BTreeMap::new())).unwrap();
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(k, v) => {
                    let key = Key::text(&format!("key{k}"));
                    s.assoc_in(&[top.clone(), key.clone()], &Value::Int(v)).unwrap();
                    model.insert(key, Value::Int(v));
                }
                Step::Remove(k) => {
                    let key = Key::text(&format!("key{k}"));
                    let was = s.dissoc_in(&[top.clone(), key.clone()]).unwrap();
                    prop_assert_eq!(was, model.remove(&key).is_some());
                }
                Step::Fold => s.settle().unwrap(),
            }
        }
        for (k, v) in &model {
            prop_assert_eq!(s.get_in(&[top.clone(), k.clone()]).unwrap(), Some(v.clone()));
        }
        prop_assert_eq!(s.get(&top).unwrap(), Some(Value::Map(model.clone())));
        s.settle().unwrap();
        prop_assert_eq!(s.get(&top).unwrap(), Some(Value::Map(model)));
    }
}

#[test]
fn a_document_of_a_hundred_thousand_leaves_folds_and_reads() {
    let s = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap();
    let map: BTreeMap<Key, Value> = (0..100_000)
        .map(|i| (Key::text(&format!("k{i}")), Value::Int(i)))
        .collect();
    let value = Value::Map(map);
    s.assoc(&Key::text("doc"), &value).unwrap();
    s.settle().unwrap();
    assert_eq!(
        s.get_in(&[Key::text("doc"), Key::text("k77777")]).unwrap(),
        Some(Value::Int(77_777))
    );
    assert_eq!(s.get(&Key::text("doc")).unwrap(), Some(value));
}
