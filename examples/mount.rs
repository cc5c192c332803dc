//! A program that mounts its own store: `cargo run --example mount`. Needs FUSE.

use std::error::Error;
use std::fs;
use std::sync::Arc;

use konserve_fs::fuse::{MountOptions, Session};
use konserve_fs::store::{CreateOptions, Location, Store, Write};
use konserve_fs::value::{Key, Value};
use konserve_fs::view::{View, ViewOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::create(&Location::parse("mem:")?, &CreateOptions::default())?;
    store.assoc_in(&[Key::text("config"), Key::text("port")], &Value::Int(80))?;
    store.add_write_hook(
        "tell",
        Arc::new(|write: &Write| println!("{} {:?}", write.api_op.name(), write.key_path())),
    );

    let point = std::env::temp_dir().join(format!("kfs-mount-{}", std::process::id()));
    fs::create_dir(&point)?;
    let view = View::new(store.clone(), ViewOptions::default())?;
    let session = Session::mount(view, &point, &MountOptions::default())?;
    let (invalidator, stopper) = (session.invalidator(), session.stopper());
    let served = std::thread::spawn(move || session.serve(|| ()));

    // Other programs see the store's values as files, and the store sees what they write.
    let port = point.join("config/port");
    println!("the file says {:?}", fs::read_to_string(&port)?);
    fs::write(&port, "8080\n")?;
    let path = [Key::text("config"), Key::text("port")];
    assert_eq!(store.get_in(&path)?, Some(Value::Int(8080)));

    // What the program writes is in the files when the kernel has been told.
    store.assoc_in(&path, &Value::Int(443))?;
    invalidator.flush(std::time::Duration::from_secs(10))?;
    assert_eq!(fs::read_to_string(&port)?, "443\n");

    stopper.stop();
    served.join().map_err(|_| "the mount's thread panicked")??;
    fs::remove_dir(&point)?;
    Ok(())
}
