//! Keys, and the bytes of what is encrypted with them. What they say, and where they are kept, is the
//! business of others.
//!
//! An encrypted store has a random **data key** (one for each *generation*), a random **address key**
//! and a random **master key**. The first two are sealed under the master key, which is sealed once for
//! each **slot**: a passphrase or a key file. See [`slots`] for their layout. Slots come and go without
//! anything else being written again.
//!
//! # What is sealed
//!
//! Each blob and each record of the journal, by AES-256 in CBC mode and then a keyed BLAKE3 over what
//! came of that. Numbers are big-endian.
//!
//! ```text
//!  0        1   2   3           4            8         24                     n - 32   n
//!  +--------+---+---+-----------+------------+---------+----------------------+--------+
//!  | version| 0 | 0 | encryptor | generation | salt    | ciphertext           | MAC    |
//!  | 3      |   |   | 1         | u32        | 16 bytes| a multiple of 16     |        |
//!  +--------+---+---+-----------+------------+---------+----------------------+--------+
//!
//!  what is encrypted:
//!  +---------+-----------------+----------------+-----------------------------+
//!  | content | padding, zeroes | content length | PKCS#7: 1 to 16 bytes, each |
//!  |         |                 | u32            | of which is their number    |
//!  +---------+-----------------+----------------+-----------------------------+
//!
//!  encryption key = derive_key("konserve-fs 2026 encryption of content", data key)
//!  AES key | IV   = the first 32 and the next 16 bytes of keyed_hash(encryption key, salt)
//!  MAC key        = derive_key("konserve-fs 2026 authentication of content", data key)
//!  MAC            = keyed_hash(MAC key, kind | store | name length u32 | name | bytes 0 to n - 32)
//! ```
//!
//! `derive_key` and `keyed_hash` are those of BLAKE3. The salt is new, from the system, each time that
//! something is written. The store is its UUID, 16 bytes; kind and name say what it is:
//!
//! | kind, u8 | what | name |
//! |---|---|---|
//! | 1 | a blob | its address, as it is without encryption |
//! | 2 | a record of the journal | its sequence number, u64 |
//! | 3, 4 | what is in [`slots`] | see there |
//!
//! The content of a blob is what stands there in a store without encryption: header, meta and value as
//! drawn in [`codec`](crate::codec), compressed before.
//!
//! Nothing is decrypted before the MAC holds, which is compared in constant time. Whatever is wrong, a
//! flipped bit, a blob from another address or another store, or one that is not encrypted at all, is
//! one and the same error, [`CryptError::Authentication`].
//!
//! # Addresses
//!
//! ```text
//!  0     1                    17                              what is encrypted:
//!  +-----+--------------------+----------------------------+  +---------+-----------------+
//!  | `e` | synthetic IV       | ciphertext                 |  | address | PKCS#7: 1 to 16 |
//!  |     | 16 bytes           | a multiple of 16           |  |         |                 |
//!  +-----+--------------------+----------------------------+  +---------+-----------------+
//!
//!  synthetic IV = the first 16 bytes of
//!                 keyed_hash(derive_key("konserve-fs 2026 synthetic IV of addresses", address key), address)
//!  AES key      = derive_key("konserve-fs 2026 encryption of addresses", address key)
//! ```
//!
//! So the same address is always the same bytes, as it must be found again, and can be read from them
//! without the blob. The addresses of pages, which are keyed hashes already, and the one-byte addresses
//! of the store's own marks are not encrypted; see [`Cipher::conceal`].
//!
//! # Who may do what
//!
#![doc = include_str!("threats.md")]

mod address;
mod cipher;
mod error;
mod key;
mod seal;
pub mod slots;
#[cfg(test)]
mod tests;

pub use cipher::{Cipher, OVERHEAD};
pub use error::CryptError;
pub use key::{Secret, Source};
pub use seal::Padding;
pub use slots::{Cost, KeyBlob, Slot};
