//! Signals that ask the daemon to end.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

/// SIGTERM, SIGINT and SIGHUP, kept from ending the process at once.
#[derive(Debug)]
pub struct StopSignals(SigSet);

impl StopSignals {
    /// Keeps the signals waiting. To be called before any thread is started: each takes over the
    /// mask of the thread that starts it, and a single one without it would end the process.
    ///
    /// # Errors
    /// What the system says.
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Calls `act` at every signal, on a thread of its own, until the process ends.
    ///
    /// # Errors
    /// What the system says if there is no thread to be had.
    pub fn on_signal(self, act: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
        thread::Builder::new()
            .name("kfs-signals".to_owned())
            .spawn(move || {
                loop {
                    match self.0.wait() {
                        Ok(signal) => act(signal),
                        Err(error) => tracing::error!(%error, "waiting for signals"),
                    }
                }
            })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn a_signal_waits_to_be_acted_upon_instead_of_ending_the_process() {
        let waited = thread::spawn(|| {
            let signals = StopSignals::block().unwrap();
            // To this thread alone: other tests run in this process.
            raise(Signal::SIGTERM).unwrap();
            signals.0.wait()
        });
        assert_eq!(waited.join().unwrap(), Ok(Signal::SIGTERM));
    }
}
