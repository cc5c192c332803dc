//! Compares the storages: `engines DIR [RECORDS]` prints a row for each that is built in.
//!
//! Records are 200 bytes under random addresses. What a single write costs is measured on a tenth
//! as many, and with a sync on a hundredth.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use konserve_fs::backend::embedded::Embedded;
use konserve_fs::backend::library::Library;
use konserve_fs::backend::{
    Access, Backend, BackendError, Batch, Deadline, Precondition, Result as BackendResult,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NAMES: [&str; 2] = ["embedded", "lmdb"];
const WAIT: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["fill", name, dir, records] => fill(name, Path::new(dir), records.parse()?),
        [dir] => table(Path::new(dir), 1_000_000),
        [dir, records] => table(Path::new(dir), records.parse()?),
        _ => Err("usage: engines DIR [RECORDS]".into()),
    }
}

fn table(dir: &Path, records: u32) -> Outcome<()> {
    println!(
        "| | put/s | overwrite/s | get/s | put + sync /s | groups of 64 + sync, records/s | reopen after kill -9, ms | disk, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for name in NAMES {
        match row(name, &dir.join(name), records) {
            Err(error) if matches!(error.downcast_ref(), Some(BackendError::NotBuilt { .. })) => {
                eprintln!("{name} is not built in");
            }
            done => done?,
        }
    }
    Ok(())
}

fn row(name: &str, dir: &Path, records: u32) -> Outcome<()> {
    let storage = create(name, dir)?;
    let (some, few) = (records / 10, records / 100);
    let put = |number: u32, content: u8| {
        let (address, bytes) = record(number, content);
        storage.put(&address, &bytes, Precondition::Any, soon())
    };
    let puts = rate(some, |number| put(number, 1).map(drop))?;
    let overwrites = rate(some, |number| put(number, 2).map(drop))?;
    let gets = rate(some, |number| {
        storage.get(&record(number, 2).0, soon()).map(drop)
    })?;
    let durable = rate(few, |number| {
        put(number, 3)?;
        storage.sync(soon())
    })?;
    let groups = rate(few / 8, |group| {
        storage.apply(batch(group * 64..(group + 1) * 64, 4), soon())?;
        storage.sync(soon())
    })?;
    drop(storage);

    let killed = dir.join("killed");
    drop(create(name, &killed)?);
    kill_when_full(name, &killed, records)?;
    let start = Instant::now();
    let storage = open(name, &killed)?;
    let reopened = start.elapsed().as_millis();
    let kept = storage.list(b"", None, usize::MAX, soon())?.len();
    if kept != records as usize {
        return Err(format!("{name} kept {kept} of {records} records").into());
    }
    let size = space(&killed)? / 1_000_000;
    println!(
        "| {name} | {puts:.0} | {overwrites:.0} | {gets:.0} | {durable:.0} | {:.0} | {reopened} | {size} |",
        groups * 64.0
    );
    Ok(())
}

/// Writes all records in groups, says so, and waits to be killed.
fn fill(name: &str, dir: &Path, records: u32) -> Outcome<()> {
    let storage = open(name, dir)?;
    for first in (0..records).step_by(4096) {
        storage.apply(batch(first..records.min(first + 4096), 1), soon())?;
    }
    println!("full");
    std::io::stdout().flush()?;
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

fn kill_when_full(name: &str, dir: &Path, records: u32) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["fill", name])
        .arg(dir)
        .arg(records.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    child.kill()?;
    child.wait()?;
    if line.trim() == "full" {
        Ok(())
    } else {
        Err(format!("{name} could not be filled").into())
    }
}

fn create(name: &str, dir: &Path) -> BackendResult<Arc<dyn Backend>> {
    match library(name) {
        Some(library) => library.create(dir, WAIT),
        None => Ok(Arc::new(Embedded::create(dir, WAIT)?)),
    }
}

fn open(name: &str, dir: &Path) -> BackendResult<Arc<dyn Backend>> {
    match library(name) {
        Some(library) => library.open(dir, Access::ReadWrite, WAIT),
        None => Ok(Arc::new(Embedded::open(dir, Access::ReadWrite, WAIT)?)),
    }
}

fn library(name: &str) -> Option<Library> {
    Library::ALL
        .into_iter()
        .find(|library| library.name() == name)
}

/// Calls per second.
fn rate(count: u32, mut call: impl FnMut(u32) -> BackendResult<()>) -> BackendResult<f64> {
    let start = Instant::now();
    for number in 0..count {
        call(number)?;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn record(number: u32, content: u8) -> ([u8; 8], [u8; 200]) {
    let random = u64::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (random.to_be_bytes(), [content; 200])
}

fn batch(numbers: std::ops::Range<u32>, content: u8) -> Batch {
    let mut batch = Batch::new();
    for number in numbers {
        let (address, bytes) = record(number, content);
        batch.put(address, bytes, Precondition::Any);
    }
    batch
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(600))
}

/// What the files in a directory take on disk, in bytes.
fn space(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        sum += if found.is_dir() {
            space(&entry.path())?
        } else {
            found.blocks() * 512
        };
    }
    Ok(sum)
}
