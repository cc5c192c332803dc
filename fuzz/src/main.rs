//! Bytes from outside, thrown at everything that reads some. `KFS_FUZZ` says which of the
//! [`targets::TARGETS`] it is; `scripts/fuzz.sh` runs all of them.

#![no_main]

mod bytes;
mod journal;
mod store;
mod stream;
mod targets;
mod text;

use std::alloc::System;
use std::sync::OnceLock;

use cap::Cap;
use libfuzzer_sys::fuzz_target;

/// A length that is believed before it is checked shows by this: nothing here needs as much.
const MEMORY: usize = 320 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    TARGET.get_or_init(targets::chosen)(data);
});
