//! The store for those who must not block: each operation runs on a thread of tokio's blocking pool.
//!
//! An operation that has begun goes on when its future is dropped, so that nothing is ever half done:
//! the value is the old one or the new one. Who drops a future does not learn which, nor when it was
//! done: what it writes may come after later writes of others.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::ops::Range;
use std::panic::resume_unwind;

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::api::{Change, Keys};
use super::binary::BlobReader;
use super::connect::ConnectOptions;
use super::lifecycle::CreateOptions;
use super::location::Location;
use super::log::Log;
use super::multi::Condition;
use super::record::Meta;
use super::{Store, StoreError, Tx, show_key};
use crate::tree::{CHUNK, TreeError};
use crate::value::{Key, Value};

/// Items that a [`Stream`] reads in one go.
const AHEAD: usize = 256;

/// A connected store whose operations are futures. They need a tokio runtime around them.
#[derive(Clone, Debug)]
pub struct AsyncStore(Store);

impl From<Store> for AsyncStore {
    fn from(store: Store) -> Self {
        Self(store)
    }
}

impl AsyncStore {
    /// As [`Store::create`].
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn create(location: Location, options: CreateOptions) -> Result<Self, StoreError> {
        let created = blocking(move || Store::create(&location, &options)).await?;
        Ok(Self(created))
    }

    /// As [`Store::connect`].
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn connect(location: Location, options: ConnectOptions) -> Result<Self, StoreError> {
        let connected = blocking(move || Store::connect(&location, &options)).await?;
        Ok(Self(connected))
    }

    /// As [`Store::delete`].
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub async fn delete(location: Location, id: Uuid) -> Result<(), StoreError> {
        blocking(move || Store::delete(&location, id)).await
    }

    /// As [`Store::release`].
    ///
    /// # Errors
    /// As [`Store::release`].
    pub async fn release(self) -> Result<(), StoreError> {
        blocking(move || self.0.release()).await
    }

    /// The store, for what does not block and for threads that may.
    pub fn store(&self) -> &Store {
        &self.0
    }

    /// As [`Store::unsynced`].
    #[must_use]
    pub fn unsynced(&self) -> Self {
        Self(self.0.unsynced())
    }

    /// Anything else with the store, on a thread that may block.
    ///
    /// # Errors
    /// Those of `f`.
    pub async fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.0.clone();
        blocking(move || f(&store)).await
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn get(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        self.get_in(std::slice::from_ref(key)).await
    }

    /// As [`Store::get_in`].
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub async fn get_in(&self, path: &[Key]) -> Result<Option<Value>, StoreError> {
        let path = path.to_vec();
        self.with(move |store| store.get_in(&path)).await
    }

    /// As [`Store::exists_key`].
    ///
    /// # Errors
    /// As [`Store::exists_key`].
    pub async fn exists_key(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.with(move |store| store.exists_key(&key)).await
    }

    /// As [`Store::get_meta`].
    ///
    /// # Errors
    /// As [`Store::get_meta`].
    pub async fn get_meta(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        let key = key.clone();
        self.with(move |store| store.get_meta(&key)).await
    }

    /// As [`Store::assoc`].
    ///
    /// # Errors
    /// As [`Store::assoc`].
    pub async fn assoc(&self, key: &Key, value: Value) -> Result<(), StoreError> {
        self.assoc_in(std::slice::from_ref(key), value).await
    }

    /// As [`Store::assoc_in`].
    ///
    /// # Errors
    /// As [`Store::assoc_in`].
    pub async fn assoc_in(&self, path: &[Key], value: Value) -> Result<(), StoreError> {
        let path = path.to_vec();
        self.with(move |store| store.assoc_in(&path, &value)).await
    }

    /// As [`Store::assoc_if`].
    ///
    /// # Errors
    /// As [`Store::assoc_if`].
    pub async fn assoc_if(
        &self,
        path: &[Key],
        value: Value,
        condition: Condition,
    ) -> Result<(), StoreError> {
        let path = path.to_vec();
        let put = move |store: &Store| store.assoc_if(&path, &value, condition);
        self.with(put).await
    }

    /// As [`Store::update_in`]; for one key its path is that key alone.
    ///
    /// # Errors
    /// As [`Store::update_in`].
    pub async fn update_in<E>(
        &self,
        path: &[Key],
        f: impl Fn(Option<&Value>) -> Result<Value, E> + Send + 'static,
    ) -> Result<Change, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = path.to_vec();
        self.with(move |store| store.update_in(&path, f)).await
    }

    /// As [`Store::dissoc`].
    ///
    /// # Errors
    /// As [`Store::dissoc`].
    pub async fn dissoc(&self, key: &Key) -> Result<bool, StoreError> {
        self.dissoc_in(std::slice::from_ref(key)).await
    }

    /// As [`Store::dissoc_in`].
    ///
    /// # Errors
    /// As [`Store::dissoc_in`].
    pub async fn dissoc_in(&self, path: &[Key]) -> Result<bool, StoreError> {
        let path = path.to_vec();
        self.with(move |store| store.dissoc_in(&path)).await
    }

    /// As [`Store::dissoc_if`].
    ///
    /// # Errors
    /// As [`Store::dissoc_if`].
    pub async fn dissoc_if(&self, path: &[Key], version: u64) -> Result<bool, StoreError> {
        let path = path.to_vec();
        self.with(move |store| store.dissoc_if(&path, version))
            .await
    }

    /// As [`Store::swap`].
    ///
    /// # Errors
    /// As [`Store::swap`].
    pub async fn swap(&self, a: &[Key], b: &[Key]) -> Result<(), StoreError> {
        let (a, b) = (a.to_vec(), b.to_vec());
        self.with(move |store| store.swap(&a, &b)).await
    }

    /// As [`Store::rename`].
    ///
    /// # Errors
    /// As [`Store::rename`].
    pub async fn rename(
        &self,
        from: &[Key],
        to: &[Key],
        no_replace: bool,
    ) -> Result<(), StoreError> {
        let (from, to) = (from.to_vec(), to.to_vec());
        self.with(move |store| store.rename(&from, &to, no_replace))
            .await
    }

    /// As [`Store::multi_get`].
    ///
    /// # Errors
    /// As [`Store::multi_get`].
    pub async fn multi_get(&self, keys: &[Key]) -> Result<BTreeMap<Key, Value>, StoreError> {
        let keys = keys.to_vec();
        self.with(move |store| store.multi_get(&keys)).await
    }

    /// As [`Store::multi_assoc`].
    ///
    /// # Errors
    /// As [`Store::multi_assoc`].
    pub async fn multi_assoc(&self, values: BTreeMap<Key, Value>) -> Result<(), StoreError> {
        self.with(move |store| store.multi_assoc(&values)).await
    }

    /// As [`Store::multi_dissoc`].
    ///
    /// # Errors
    /// As [`Store::multi_dissoc`].
    pub async fn multi_dissoc(&self, keys: &[Key]) -> Result<BTreeMap<Key, bool>, StoreError> {
        let keys = keys.to_vec();
        self.with(move |store| store.multi_dissoc(&keys)).await
    }

    /// As [`Store::transact`].
    ///
    /// # Errors
    /// As [`Store::transact`].
    pub async fn transact<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(move |store| store.transact(f)).await
    }

    /// As [`Store::append`].
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append(&self, key: &Key, element: Value) -> Result<u64, StoreError> {
        let key = key.clone();
        self.with(move |store| store.append(&key, &element)).await
    }

    /// As [`Store::log`].
    ///
    /// # Errors
    /// As [`Store::log`].
    pub async fn log(&self, key: &Key) -> Result<Stream<Log>, StoreError> {
        let key = key.clone();
        let log = self.with(move |store| store.log(&key)).await?;
        Ok(Stream::of(log, AHEAD))
    }

    /// As [`Store::keys`].
    pub fn keys(&self) -> Stream<Keys> {
        Stream::of(self.0.keys(), AHEAD)
    }

    /// As [`Store::bget`]: a stream of pieces of up to 32 KiB.
    ///
    /// # Errors
    /// As [`Store::bget`].
    pub async fn bget(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Option<Stream<Pieces>>, StoreError> {
        let (key, of) = (key.clone(), key.clone());
        let found = self.with(move |store| store.bget(&key, range)).await?;
        let pieces = |blob| Pieces {
            key: of,
            blob: Some(blob),
        };
        Ok(found.map(|blob| Stream::of(pieces(blob), 1)))
    }

    /// As [`Store::bassoc`]. The source is read on a thread that may block.
    ///
    /// # Errors
    /// As [`Store::bassoc`].
    pub async fn bassoc(
        &self,
        key: &Key,
        source: impl Read + Send + 'static,
    ) -> Result<(), StoreError> {
        let key = key.clone();
        self.with(move |store| store.bassoc(&key, source)).await
    }

    /// As [`Store::sync`].
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub async fn sync(&self) -> Result<(), StoreError> {
        self.with(Store::sync).await
    }
}

async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(spawn_blocking(f).await).unwrap_or(Err(StoreError::Released))
}

/// What a task gave; its panic goes on here. `None` if the runtime ended before it began.
fn joined<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(out) => Some(out),
        Err(e) if e.is_panic() => resume_unwind(e.into_panic()),
        Err(_) => None,
    }
}

/// The pieces of a byte string.
#[derive(Debug)]
pub struct Pieces {
    key: Key,
    blob: Option<BlobReader>,
}

impl Iterator for Pieces {
    type Item = Result<Vec<u8>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Vec::new();
        let blob = self.blob.as_mut()?;
        match blob.take(CHUNK as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece)),
            Err(e) => {
                self.blob = None;
                Some(Err(match e.downcast::<TreeError>() {
                    Ok(e) => StoreError::tree(&self.key, e),
                    Err(source) => StoreError::Io {
                        what: format!("reading {}", show_key(&self.key)),
                        source,
                    },
                }))
            }
        }
    }
}

/// Items that are read ahead on a thread that may block.
#[derive(Debug)]
pub struct Stream<I: Iterator> {
    ready: VecDeque<I::Item>,
    ahead: usize,
    state: State<I>,
}

#[derive(Debug)]
enum State<I: Iterator> {
    Idle(I),
    Reading(JoinHandle<(I, Vec<I::Item>)>),
    Ended,
}

impl<I> Stream<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send,
{
    fn of(items: I, ahead: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            ahead,
            state: State::Idle(items),
        }
    }

    /// The next item; `None` at the end. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<I::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            // The task stays in its place while it is waited for.
            if let State::Reading(task) = &mut self.state {
                let ended = task.await;
                self.state = State::Ended;
                let (items, read) = joined(ended)?;
                if !read.is_empty() {
                    self.state = State::Idle(items);
                }
                self.ready = read.into();
            } else if let State::Idle(mut items) = std::mem::replace(&mut self.state, State::Ended)
            {
                let ahead = self.ahead;
                self.state = State::Reading(spawn_blocking(move || {
                    let read = items.by_ref().take(ahead).collect();
                    (items, read)
                }));
            } else {
                return None;
            }
        }
    }
}
