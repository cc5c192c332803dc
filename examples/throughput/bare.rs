//! Libraries for key and value, as a program would use them itself.

use std::path::Path;

use konserve_fs::value::{Key, Value, cbor, path};

use super::kfs::value;
use super::{Outcome, Subject, leaf, name, text};

/// Blobs under keys; each write is a transaction.
pub trait Blobs {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;
    fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>>;
    fn keys(&self) -> Outcome<Vec<Vec<u8>>>;
    /// In one transaction.
    fn remove(&self, keys: &[Vec<u8>]) -> Outcome<()>;
}

/// Documents as blobs.
pub struct Bare<B>(pub B);

impl<B: Blobs> Bare<B> {
    fn document(&self, leaves: u32) -> Outcome<Value> {
        let blob = self.0.get(format!("document-{leaves}").as_bytes())?;
        Ok(cbor::decode(&blob.ok_or("no document")?)?)
    }
}

fn path(leaves: u32, number: u32, round: u32) -> ([Key; 2], Value) {
    let (path, value) = leaf(leaves, number, round);
    (path.map(|key| Key::text(&key)), Value::Text(value))
}

impl<B: Blobs> Subject for Bare<B> {
    fn put(&self, key: u32, round: u32) -> Outcome<()> {
        self.0.put(name(key).as_bytes(), text(round).as_bytes())
    }

    fn get(&self, key: u32) -> Outcome<()> {
        match self.0.get(name(key).as_bytes())? {
            Some(bytes) if bytes.len() == 100 => Ok(()),
            other => Err(format!("{other:?} under {key}").into()),
        }
    }

    fn make(&self, leaves: u32) -> Outcome<()> {
        let blob = cbor::encode(&value(leaves));
        self.0.put(format!("document-{leaves}").as_bytes(), &blob)
    }

    fn get_in(&self, leaves: u32, number: u32) -> Outcome<()> {
        match path::get_in(&self.document(leaves)?, &path(leaves, number, 0).0)? {
            Some(Value::Text(_)) => Ok(()),
            other => Err(format!("{other:?} in leaf {number}").into()),
        }
    }

    fn assoc_in(&self, leaves: u32, number: u32, round: u32) -> Outcome<()> {
        let (path, value) = path(leaves, number, round);
        let document = path::assoc_in(self.document(leaves)?, &path, value)?;
        let blob = cbor::encode(&document);
        self.0.put(format!("document-{leaves}").as_bytes(), &blob)
    }

    fn update_in(&self) -> Outcome<()> {
        let old = match self.0.get(b"counter")? {
            Some(bytes) => u64::from_be_bytes(bytes.try_into().map_err(|_| "no number")?),
            None => 0,
        };
        self.0.put(b"counter", &(old + 1).to_be_bytes())
    }

    fn list(&self) -> Outcome<u32> {
        Ok(u32::try_from(self.0.keys()?.len())?)
    }

    fn sweep(&self) -> Outcome<u32> {
        let keys = self.0.keys()?;
        self.0.remove(&keys)?;
        Ok(u32::try_from(keys.len())?)
    }

    fn put_binary(&self, key: u32, bytes: &[u8]) -> Outcome<()> {
        self.0.put(&key.to_be_bytes(), bytes)
    }

    fn get_binary(&self, key: u32) -> Outcome<()> {
        let bytes = self.0.get(&key.to_be_bytes())?;
        bytes.map(drop).ok_or_else(|| "nothing there".into())
    }

    fn settle(&self) -> Outcome<()> {
        Ok(())
    }

    fn is_bare(&self) -> bool {
        true
    }
}

#[cfg(feature = "lmdb")]
pub struct Lmdb {
    env: heed::Env,
    blobs: heed::Database<heed::types::Bytes, heed::types::Bytes>,
}

#[cfg(feature = "lmdb")]
impl Lmdb {
    pub fn create(dir: &Path, synced: bool) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(4 << 30);
        #[expect(
            unsafe_code,
            reason = "LMDB maps a file, which nobody else changes: it is new"
        )]
        // SAFETY: the directory was made for this, and a crash of the machine ends the measurement.
        let env = unsafe {
            if !synced {
                options.flags(heed::EnvFlags::NO_SYNC);
            }
            options.open(dir)?
        };
        let mut transaction = env.write_txn()?;
        let blobs = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, blobs })
    }
}

#[cfg(feature = "lmdb")]
impl Blobs for Lmdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        self.blobs.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>> {
        let transaction = self.env.read_txn()?;
        Ok(self.blobs.get(&transaction, key)?.map(<[u8]>::to_vec))
    }

    fn keys(&self) -> Outcome<Vec<Vec<u8>>> {
        let transaction = self.env.read_txn()?;
        let all = self.blobs.iter(&transaction)?;
        all.map(|pair| Ok(pair?.0.to_vec())).collect()
    }

    fn remove(&self, keys: &[Vec<u8>]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for key in keys {
            self.blobs.delete(&mut transaction, key)?;
        }
        Ok(transaction.commit()?)
    }
}

#[cfg(feature = "rocksdb")]
pub struct Rocks {
    db: rocksdb::DB,
    synced: bool,
}

#[cfg(feature = "rocksdb")]
impl Rocks {
    pub fn create(dir: &Path, synced: bool) -> Outcome<Self> {
        let db = rocksdb::DB::open_default(dir)?;
        Ok(Self { db, synced })
    }

    fn options(&self) -> rocksdb::WriteOptions {
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(self.synced);
        options
    }
}

#[cfg(feature = "rocksdb")]
impl Blobs for Rocks {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.db.put_opt(key, value, &self.options())?)
    }

    fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>> {
        Ok(self.db.get(key)?)
    }

    fn keys(&self) -> Outcome<Vec<Vec<u8>>> {
        let all = self.db.iterator(rocksdb::IteratorMode::Start);
        all.map(|pair| Ok(pair?.0.to_vec())).collect()
    }

    fn remove(&self, keys: &[Vec<u8>]) -> Outcome<()> {
        let mut batch = rocksdb::WriteBatch::default();
        for key in keys {
            batch.delete(key);
        }
        Ok(self.db.write_opt(batch, &self.options())?)
    }
}
