//! How fast the API is: `throughput ENGINE DIR yes|no [PERCENT]` prints a line of JSON for each
//! operation. ENGINE is `kfs`, or the bare library that `kfs` is compared with: `lmdb`, `rocksdb`.
//! `yes`: every write is on disk when it returns. `scripts/throughput.py` makes a table of it.
//!
//! A *document* is one value of two levels, 24 bytes a leaf. A bare library has no such thing: there
//! it is one blob of CBOR, which is read, decoded, changed, encoded and written.

#[cfg(any(feature = "lmdb", feature = "rocksdb"))]
mod bare;
mod kfs;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Leaves of the documents.
const LEAVES: [u32; 3] = [100, 10_000, 1_000_000];
/// Keys that are there when one is read, written again, listed or swept.
const KEYS: u32 = 10_000;
const MEBIBYTE: usize = 1 << 20;

/// What is measured.
trait Subject {
    /// Puts a text of 100 bytes under a key; on disk when it returns, where that is wanted.
    fn put(&self, key: u32, round: u32) -> Outcome<()>;
    /// Reads it.
    fn get(&self, key: u32) -> Outcome<()>;
    /// Makes a document of so many leaves.
    fn make(&self, leaves: u32) -> Outcome<()>;
    /// Reads a leaf.
    fn get_in(&self, leaves: u32, leaf: u32) -> Outcome<()>;
    /// Writes a leaf.
    fn assoc_in(&self, leaves: u32, leaf: u32, round: u32) -> Outcome<()>;
    /// Adds 1 to a number under a key.
    fn update_in(&self) -> Outcome<()>;
    /// Lists all keys, and says how many there are.
    fn list(&self) -> Outcome<u32>;
    /// Removes all keys that were last written before now, and says how many these were.
    fn sweep(&self) -> Outcome<u32>;
    /// Puts 1 MiB under a key.
    fn put_binary(&self, key: u32, bytes: &[u8]) -> Outcome<()>;
    /// Reads it.
    fn get_binary(&self, key: u32) -> Outcome<()>;
    /// Comes back when nothing waits to be done.
    fn settle(&self) -> Outcome<()>;
    /// Whether one leaf costs as much as the document.
    fn is_bare(&self) -> bool;
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = "usage: throughput ENGINE DIR yes|no [PERCENT]";
    let (engine, dir, synced, percent) = match arguments.as_slice() {
        [engine, dir, synced] => (*engine, dir, *synced, 100),
        [engine, dir, synced, percent] => (*engine, dir, *synced, percent.parse()?),
        _ => return Err(usage.into()),
    };
    let synced = match synced {
        "yes" => true,
        "no" => false,
        _ => return Err(usage.into()),
    };
    let dir = Path::new(dir);
    let subject: Box<dyn Subject> = match engine {
        "kfs" => Box::new(kfs::Kfs::create(dir, synced)?),
        #[cfg(feature = "lmdb")]
        "lmdb" => Box::new(bare::Bare(bare::Lmdb::create(dir, synced)?)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(bare::Bare(bare::Rocks::create(dir, synced)?)),
        _ => return Err(format!("{engine} is not built in").into()),
    };
    measure(&*subject, synced, percent)
}

fn measure(subject: &dyn Subject, synced: bool, percent: u32) -> Outcome<()> {
    let run = Run { subject, percent };
    let writes = if synced { 2_000 } else { 100_000 };
    run.time("put", writes, |n| subject.put(scattered(n), 0))?;
    subject.sweep()?;
    run.quiet(KEYS, |key| subject.put(key, 0))?;
    let keys = subject.list()?;
    subject.settle()?;
    run.time("overwrite", writes, |n| subject.put(scattered(n) % keys, n))?;
    run.time("get", 500_000, |n| subject.get(scattered(n) % keys))?;
    run.once("list", || {
        (0..10).try_for_each(|_| subject.list().map(drop))?;
        Ok(10 * keys)
    })?;
    run.once("sweep", || {
        let gone = subject.sweep()?;
        if gone == keys {
            Ok(gone)
        } else {
            Err(format!("{gone} of {keys} keys were swept").into())
        }
    })?;
    for leaves in LEAVES {
        subject.make(leaves)?;
        subject.settle()?;
        let (reads, writes) = match (subject.is_bare(), leaves) {
            (true, 100) => (10_000, if synced { 2_000 } else { 5_000 }),
            (true, 10_000) => (100, 50),
            (true, _) => (2, 2),
            (false, _) => (200_000, if synced { 2_000 } else { 50_000 }),
        };
        // Once through, so that what is read often is in memory.
        run.quiet(reads.min(20_000), |n| {
            subject.get_in(leaves, scattered(n) % leaves)
        })?;
        run.time(&format!("get_in {leaves}"), reads, |n| {
            subject.get_in(leaves, scattered(n) % leaves)
        })?;
        run.time(&format!("assoc_in {leaves}"), writes, |n| {
            subject.assoc_in(leaves, scattered(n) % leaves, n)
        })?;
    }
    run.time("update_in", writes, |_| subject.update_in())?;
    let bytes = incompressible();
    run.time("binary put", 64, |n| subject.put_binary(n, &bytes))?;
    run.time("binary get", 64, |n| subject.get_binary(n))
}

struct Run<'s> {
    subject: &'s dyn Subject,
    percent: u32,
}

impl Run<'_> {
    fn quiet(&self, count: u32, mut call: impl FnMut(u32) -> Outcome<()>) -> Outcome<()> {
        (0..(count * self.percent).div_ceil(100)).try_for_each(&mut call)
    }

    fn time(&self, name: &str, count: u32, call: impl FnMut(u32) -> Outcome<()>) -> Outcome<()> {
        let count = (count * self.percent).div_ceil(100);
        let mut call = call;
        self.once(name, || {
            (0..count).try_for_each(&mut call)?;
            Ok(count)
        })
    }

    /// Prints how long so many calls took, and how long until all that they left to be done was done.
    fn once(&self, name: &str, calls: impl FnOnce() -> Outcome<u32>) -> Outcome<()> {
        let busy = processor_time()?;
        let start = Instant::now();
        let count = f64::from(calls()?);
        let called = start.elapsed();
        self.subject.settle()?;
        let settled = idle_since(Instant::now())? - start;
        let busy = processor_time()? - busy;
        println!(
            r#"{{"operation": "{name}", "per_second": {:.1}, "settled_per_second": {:.1}, "cpu_micros": {:.3}}}"#,
            count / called.as_secs_f64(),
            count / settled.as_secs_f64(),
            busy.as_secs_f64() * 1e6 / count,
        );
        Ok(())
    }
}

/// Since when no thread of this process does anything.
fn idle_since(mut since: Instant) -> Outcome<Instant> {
    const LOOK: Duration = Duration::from_millis(20);
    let mut busy = processor_time()?;
    for _ in 0..500 {
        std::thread::sleep(LOOK);
        let now = processor_time()?;
        if now - busy < LOOK / 10 {
            break;
        }
        busy = now;
        since = Instant::now();
    }
    Ok(since)
}

/// Of all threads of this process, in the system as well.
fn processor_time() -> Outcome<Duration> {
    use nix::sys::time::TimeValLike as _;
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let micros = (used.user_time() + used.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Numbers in an order that is none, and the same each time.
fn scattered(n: u32) -> u32 {
    n.wrapping_add(1).wrapping_mul(0x9E37_79B1) >> 4
}

fn name(key: u32) -> String {
    format!("key-{key:08}")
}

fn text(round: u32) -> String {
    // Padding to this width takes longer than some of the calls.
    format!("{}{round:012}", "0".repeat(88))
}

/// A leaf's keys and its value.
fn leaf(leaves: u32, leaf: u32, round: u32) -> ([String; 2], String) {
    let width = leaves.isqrt();
    let path = [leaf / width, leaf % width];
    (path.map(|n| format!("n{n:06}")), format!("{round:024}"))
}

fn incompressible() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(MEBIBYTE).collect()
}
