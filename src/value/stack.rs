//! Room for what recurses, on whatever thread it is.

use std::io;
use std::thread;

/// What is nested less deeply is read on the stack at hand: it takes less than 128 KiB.
pub(crate) const SHALLOW: usize = 32;

/// Enough for everything that may nest, also without optimisation.
const LARGE: usize = 16 << 20;

/// Reads down to [`SHALLOW`] levels, and what turns out to be deeper once more on a stack that is
/// large enough for `deepest`. `read` is told how many levels it may go down.
pub(crate) fn read<T: Send, E: Send>(
    deepest: usize,
    mut read: impl FnMut(usize) -> Result<T, E> + Send,
    is_too_deep: impl Fn(&E) -> bool,
) -> Result<T, E> {
    match read(SHALLOW) {
        Err(error) if is_too_deep(&error) => {
            // Without a thread it stays too deep.
            on_own_stack(LARGE, || read(deepest)).unwrap_or(Err(error))
        }
        done => done,
    }
}

/// Runs what may go deep on a thread of its own with a stack of `size` bytes.
///
/// # Errors
/// That there is no thread.
pub(crate) fn on_own_stack<T: Send>(size: usize, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("kfs-deep".to_owned())
            .stack_size(size)
            .spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(done) => Ok(done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::value::{cbor, edn, json};

    /// On a quarter of what a thread has.
    fn on_small_stack(work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn(work).unwrap().join().unwrap();
    }

    const DEEP: usize = 100_000;

    #[test]
    fn cbor_that_nests_too_deeply_is_refused_on_a_small_stack() {
        let opens: [&[u8]; 7] = [
            &[0x81],
            &[0x9f],
            &[0xa1, 0x00],
            &[0xa1],
            &[0xc9],
            &[0xd9, 0x01, 0x02, 0x81],
            b"\xd8\x1b\x82\x64list\x81",
        ];
        on_small_stack(move || {
            for open in opens {
                let bytes = [open.repeat(DEEP), vec![0]].concat();
                let too_deep = |error: cbor::CborError| error.kind == cbor::CborErrorKind::TooDeep;
                assert!(too_deep(cbor::decode(&bytes).unwrap_err()), "{open:x?}");
                let raw = cbor::Reader::new(&bytes).raw().map(drop);
                assert!(too_deep(raw.unwrap_err()), "{open:x?}");
            }
        });
    }

    #[test]
    fn text_that_nests_too_deeply_is_refused_on_a_small_stack() {
        on_small_stack(|| {
            let edn_opens = [
                "[",
                "(",
                "{",
                "{1 ",
                "#{",
                "#a ",
                "#_",
                "#kfs/tagged [\"a\" ",
                "#:a{",
            ];
            for open in edn_opens {
                let error = edn::parse(&open.repeat(DEEP)).unwrap_err();
                assert!(error.is_too_deep(), "{open}: {error}");
            }
            for open in [
                "[",
                "{\"a\":",
                "{\"$list\":[",
                "{\"$set\":[",
                "{\"$map\":[[",
                "{\"$tag\":[\"a\",",
            ] {
                let error = json::parse(&open.repeat(DEEP)).unwrap_err();
                assert!(error.is_too_deep(), "{open}: {error}");
            }
        });
    }

    #[test]
    fn what_may_nest_is_read_on_a_small_stack() {
        on_small_stack(|| {
            let nested = [vec![0x81; 1000], vec![0]].concat();
            let value = cbor::decode(&nested).unwrap();
            let text = format!("{}0{}", "[".repeat(1000), "]".repeat(1000));
            let (edn, json) = (edn::parse(&text).unwrap(), json::parse(&text).unwrap());
            // Letting go of them nests, too.
            let done = super::on_own_stack(super::LARGE, || {
                assert_eq!(edn, value);
                assert_eq!(json, value);
                drop((edn, json, value));
            });
            done.unwrap();
        });
    }
}
