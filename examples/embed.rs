//! A store inside a program: `cargo run --example embed [DIR]`.

use std::error::Error;
use std::ops::ControlFlow;

use konserve_fs::store::{Condition, ConnectOptions, CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value, edn};
use konserve_fs::{gc, snapshot};

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = std::env::temp_dir().join(format!("kfs-embed-{}", std::process::id()));
    let dir = std::env::args_os().nth(1).map_or(temporary, Into::into);
    let location = Location::Embedded(dir);

    let store = Store::create(&location, &CreateOptions::default())?;
    let ada = [Key::text("users"), Key::text("ada")];
    store.assoc_in(&ada, &edn::parse("{:name \"Ada\", :born 1815}")?)?;

    // A function of what is there; it runs again if another write comes between.
    let born = [ada.as_slice(), &[Key::new(&Value::Keyword("born".into()))]].concat();
    let change = store.update_in(&born, |year| match year {
        Some(Value::Int(year)) => Ok(Value::Int(year + 1)),
        _ => Err("no year of birth"),
    })?;
    println!("{:?} became {:?}", change.old, change.new);

    // Only if nobody has written since it was read.
    let version = store.get_meta(&ada[0])?.map(|meta| meta.seq);
    if let Some(version) = version {
        store.assoc_if(&born, &Value::Int(1815), Condition::Version(version))?;
    }

    // Several keys in one step.
    let (a, b) = (Key::text("a"), Key::text("b"));
    store.multi_assoc([(&a, &Value::Int(1)), (&b, &Value::Int(2))])?;
    println!("{} keys together", store.multi_get(&[a.clone(), b])?.len());

    // A log; without waiting for the disk at every element.
    let (log, fast) = (Key::text("log"), store.unsynced());
    for n in 0..1000 {
        fast.append(&log, &Value::Int(n))?;
    }
    fast.sync()?;
    let sum = store.reduce_log(&log, 0, |sum, element| match element {
        Value::Int(n) => ControlFlow::Continue(sum + n),
        _ => ControlFlow::Break(sum),
    })?;
    println!("the log's elements are {sum} together");

    // The store as it is now, for as long as it is wanted.
    snapshot::take(&store, "before")?;
    store.dissoc(&a)?;
    println!("before: {:?}", snapshot::open(&store, "before")?.get(&a)?);
    snapshot::remove(&store, "before")?;
    println!("{} pages freed", gc::reclaim(&store)?.freed);

    let id = store.id();
    // It is free for others when the last handle is gone.
    drop(fast);
    store.release()?;
    let store = Store::connect(&location, &ConnectOptions::default())?;
    let ada = store.get_in(&ada)?.map(|ada| edn::print(&ada));
    println!("after opening it again: {}", ada.unwrap_or_default());
    store.release()?;
    Store::delete(&location, id)?;
    Ok(())
}
