//! The store's operations as futures.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use konserve_fs::store::{AsyncStore, Condition, CreateOptions, Location, StoreError};
use konserve_fs::value::{Key, Value};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

async fn memory() -> AsyncStore {
    let place = Location::parse("mem:").unwrap();
    AsyncStore::create(place, CreateOptions::default())
        .await
        .unwrap()
}

fn key(name: &str) -> Key {
    Key::text(name)
}

fn number(v: Option<&Value>) -> i64 {
    match v {
        Some(Value::Int(n)) => *n,
        _ => 0,
    }
}

#[test]
fn each_operation_does_what_the_store_does() {
    runtime().block_on(async {
        let s = memory().await;
        let path = [key("a"), key("x")];
        s.assoc_in(&path, Value::Int(1)).await.unwrap();
        let add = |n: Option<&Value>| Ok::<_, String>(Value::Int(number(n) + 1));
        let change = s.update_in(&path, add).await.unwrap();
        assert_eq!(
            (change.old, change.new),
            (Some(Value::Int(1)), Value::Int(2))
        );
        assert_eq!(s.store().get_in(&path).unwrap(), Some(Value::Int(2)));
        let refused = s.assoc_if(&path, Value::Nil, Condition::Absent).await;
        assert!(matches!(refused, Err(StoreError::Precondition { .. })));
        s.rename(&[key("a")], &[key("b")], true).await.unwrap();
        assert!(!s.exists_key(&key("a")).await.unwrap());
        let two = BTreeMap::from([(key("c"), Value::Int(3)), (key("d"), Value::Int(4))]);
        s.multi_assoc(two.clone()).await.unwrap();
        s.swap(&[key("c")], &[key("d")]).await.unwrap();
        let found = s.multi_get(&[key("c"), key("d"), key("e")]).await.unwrap();
        assert_eq!(found[&key("c")], Value::Int(4));
        let version = s.get_meta(&key("c")).await.unwrap().unwrap().seq;
        assert!(s.dissoc_if(&[key("c")], version).await.unwrap());
        let gone = s.multi_dissoc(&[key("c"), key("d")]).await.unwrap();
        assert_eq!(gone, BTreeMap::from([(key("c"), false), (key("d"), true)]));
        s.sync().await.unwrap();
        s.release().await.unwrap();
    });
}

#[test]
fn streams_give_everything_once() {
    runtime().block_on(async {
        let s = memory().await.unsynced();
        for n in 0..1000 {
            s.append(&key("log"), Value::Int(n)).await.unwrap();
            s.assoc(&key(&format!("k{n}")), Value::Int(n))
                .await
                .unwrap();
        }
        let mut log = s.log(&key("log")).await.unwrap();
        for n in 0..1000 {
            assert_eq!(log.next().await.unwrap().unwrap(), Value::Int(n));
        }
        assert!(log.next().await.is_none() && log.next().await.is_none());
        let (mut keys, mut count) = (s.keys(), 0);
        while let Some(key) = keys.next().await {
            key.unwrap();
            count += 1;
        }
        assert_eq!(count, 1001);
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        s.bassoc(&key("b"), std::io::Cursor::new(bytes.clone()))
            .await
            .unwrap();
        let mut pieces = s.bget(&key("b"), Some(10..250_000)).await.unwrap().unwrap();
        let mut read = Vec::new();
        while let Some(piece) = pieces.next().await {
            read.extend(piece.unwrap());
        }
        assert_eq!(read, bytes[10..250_000]);
        assert!(s.bget(&key("none"), None).await.unwrap().is_none());
    });
}

/// Polls once and drops.
fn begin_and_drop<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => Some(out),
        Poll::Pending => None,
    }
}

#[test]
fn a_dropped_future_leaves_the_old_value_or_the_new_one() {
    let runtime = runtime();
    let s = runtime.block_on(memory());
    let whole = |n: i64| Value::Vector(vec![Value::Int(n); 500]);
    runtime.block_on(s.assoc(&key("v"), whole(0))).unwrap();
    let mut last = 0;
    for n in 1..300 {
        runtime.block_on(async { begin_and_drop(s.assoc(&key("v"), whole(n))) });
        let found = runtime.block_on(s.get(&key("v"))).unwrap().unwrap();
        let Value::Vector(elements) = &found else {
            panic!("{found:?}")
        };
        let now = number(elements.first());
        assert_eq!(found, whole(now));
        assert!((0..=n).contains(&now));
        last = last.max(now);
    }
    assert!(last > 0, "what was begun is done");
    // A stream whose next item was not waited for goes on with that one.
    for n in 0..600 {
        runtime
            .block_on(s.append(&key("log"), Value::Int(n)))
            .unwrap();
    }
    runtime.block_on(async {
        let mut log = s.log(&key("log")).await.unwrap();
        let mut read = Vec::new();
        loop {
            match begin_and_drop(log.next()) {
                Some(Some(element)) => read.push(element.unwrap()),
                Some(None) => break,
                None => tokio::task::yield_now().await,
            }
        }
        assert_eq!(read, (0..600).map(Value::Int).collect::<Vec<_>>());
    });
}

#[test]
fn a_panic_comes_back_to_who_waits() {
    let runtime = runtime();
    let s = runtime.block_on(memory());
    let panics = || {
        let f = |_: Option<&Value>| -> Result<Value, String> { panic!("in the closure") };
        runtime.block_on(s.update_in(&[key("a")], f))
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    runtime.block_on(s.assoc(&key("a"), Value::Nil)).unwrap();
}
