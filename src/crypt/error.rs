//! What can go wrong with what is encrypted.

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum CryptError {
    /// It is not what was written there with a key of this store. What exactly is wrong with it is
    /// told to nobody.
    #[error("cannot be authenticated: damaged, changed, or of another place, store or key")]
    Authentication,
    /// No slot opens with what was given.
    #[error(
        "the key does not open it: it is none of this store's, or the store's slots were changed"
    )]
    WrongKey,
    /// The slots were written by a newer version of the program.
    #[error(
        "its slots have version {version}, and only up to {known} is known here; use a newer kfs"
    )]
    Version {
        /// Their version.
        version: u32,
        /// The version known here.
        known: u32,
    },
    /// The blob of slots is none.
    #[error("its slots cannot be read: {reason}")]
    Slots {
        /// What is wrong with it.
        reason: String,
    },
    /// A key that cannot be used.
    #[error("no key of a store: {reason}")]
    BadSecret {
        /// Why not.
        reason: String,
    },
    /// A slot that cannot be changed like this.
    #[error("slot {number}: {reason}")]
    Slot {
        /// Its number.
        number: u32,
        /// Why not.
        reason: &'static str,
    },
    /// The content is longer than can be sealed.
    #[error("{size} bytes are too many to be encrypted in one")]
    TooLarge {
        /// Its length.
        size: usize,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[source] getrandom::Error),
}
