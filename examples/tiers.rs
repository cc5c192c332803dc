//! A store on a slow disk behind a fast one: `cargo run --example tiers [SLOW FAST]`.

use std::error::Error;

use konserve_fs::backend::tiered::Writes;
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, FrontOptions, Location, Store,
};
use konserve_fs::value::{Key, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = std::env::temp_dir().join(format!("kfs-tiers-{}", std::process::id()));
    let mut dirs = std::env::args_os().skip(1).map(Into::into);
    let slow = dirs.next().unwrap_or_else(|| temporary.join("slow"));
    let fast = dirs.next().unwrap_or_else(|| temporary.join("fast"));
    std::fs::create_dir_all(&temporary)?;
    let location = Location::Embedded(slow);
    drop(Store::create(&location, &CreateOptions::default())?);

    let front = FrontOptions {
        dir: fast,
        writes: Writes::Through,
        // A write is done when it is on the fast disk; it is brought to the slow one a little later.
        done: Done::InFront,
        size: Some(1 << 30),
        copies: Copied::AsUsed,
    };
    let options = ConnectOptions {
        front: Some(front),
        ..ConnectOptions::default()
    };

    let store = Store::connect(&location, &options)?;
    for n in 0..1000 {
        store
            .unsynced()
            .assoc(&Key::text(&n.to_string()), &Value::Int(n))?;
    }
    // For all of them together: on the fast disk, and safe there.
    store.sync()?;

    // What was written last is in the front only, so nobody gets to see the store without it.
    let without = ConnectOptions {
        read_only: true,
        ..ConnectOptions::default()
    };
    let alone = Store::connect(&location, &without);
    assert!(alone.is_err(), "somebody has opened it");
    store.release()?;

    // A proper end has brought everything to the slow disk. It needs the other no more.
    let alone = Store::connect(&location, &without)?;
    assert_eq!(alone.get(&Key::text("999"))?, Some(Value::Int(999)));
    alone.release()?;

    // With the front, what is read comes from the fast disk.
    let store = Store::connect(&location, &options)?;
    assert_eq!(store.get(&Key::text("7"))?, Some(Value::Int(7)));
    if let Some(front) = store.front() {
        println!(
            "{} reads from the front, {} past it",
            front.hits.get(),
            front.misses.get()
        );
    }
    store.release()?;
    std::fs::remove_dir_all(&temporary)?;
    Ok(())
}
