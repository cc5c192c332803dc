//! A point in time as a file carries it.

/// Seconds and nanoseconds since 1970-01-01T00:00:00Z; nanoseconds are below 10⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds, negative before 1970.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

#[cfg(test)]
thread_local! {
    /// How far the machine's clock was set forward, in seconds; for this thread.
    pub static SET_FORWARD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

impl Time {
    /// The machine's clock.
    pub fn now() -> Self {
        let now = std::time::SystemTime::now();
        #[cfg(test)]
        let now = now + std::time::Duration::from_secs(SET_FORWARD.get().into());
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => Self {
                secs: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
                nanos: d.subsec_nanos(),
            },
            Err(e) => {
                let d = e.duration();
                let secs = -i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
                match d.subsec_nanos() {
                    0 => Self { secs, nanos: 0 },
                    n => Self {
                        secs: secs.saturating_sub(1),
                        nanos: 1_000_000_000 - n,
                    },
                }
            }
        }
    }

    /// The next representable moment: what makes a clock strictly monotone.
    #[must_use]
    pub fn next(self) -> Self {
        if self.nanos >= 999_999_999 {
            Self {
                secs: self.secs.saturating_add(1),
                nanos: 0,
            }
        } else {
            Self {
                secs: self.secs,
                nanos: self.nanos + 1,
            }
        }
    }
}
