//! Taking what is damaged out of a document, so that the rest can be read.

use super::entry::{Entry, Node};
use super::error::TreeError;
use super::map::{Body, Link, Map};
use super::pager::Pager;
use super::walk::{Expected, Reading, Visitor, Walk, verified_run};
use crate::value::{Key, KeyPath};

/// Takes damaged parts out of documents. Recursive: it needs a stack for the deepest document.
pub struct Cut<'a> {
    pager: &'a Pager,
    /// Whether a linked file is gone.
    is_gone: &'a dyn Fn(u64) -> bool,
    /// What was taken out, and why.
    pub lost: Vec<(KeyPath, TreeError)>,
}

impl std::fmt::Debug for Cut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut")
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// The first damage of a content.
#[derive(Default)]
struct First(Option<TreeError>);

impl Visitor for First {
    fn page(&mut self, _: u64) -> Result<(), TreeError> {
        Ok(())
    }

    fn damaged(&mut self, _: &KeyPath, error: TreeError) -> Result<(), TreeError> {
        if is_silence(&error) {
            return Err(error);
        }
        self.0.get_or_insert(error);
        Ok(())
    }
}

/// Whether an error says nothing of what was to be read: the backend did not answer.
pub fn is_silence(error: &TreeError) -> bool {
    matches!(error, TreeError::Backend(e) if e.is_silence())
}

impl<'a> Cut<'a> {
    /// With the linked files that are gone.
    pub fn new(pager: &'a Pager, is_gone: &'a dyn Fn(u64) -> bool) -> Self {
        Self {
            pager,
            is_gone,
            lost: Vec::new(),
        }
    }

    /// The entry at a path without its damaged parts; `None` if nothing of it is left. What is
    /// sound stays in its pages.
    ///
    /// # Errors
    /// That the backend does not answer.
    pub fn entry(
        &mut self,
        entry: &Entry,
        path: &mut Vec<Key>,
    ) -> Result<Option<Entry>, TreeError> {
        let node = match &entry.node {
            Node::Scalar(_) => return Ok(Some(entry.clone())),
            Node::Ref(id) => {
                if (self.is_gone)(*id) {
                    let reason = "there is no such file";
                    self.lose(
                        path,
                        TreeError::malformed(format!("linked file {id}"), reason),
                    );
                    return Ok(None);
                }
                return Ok(Some(entry.clone()));
            }
            Node::ScalarPage(_) | Node::Text(_) | Node::Bytes(_) => {
                let mut first = First::default();
                Walk::new(self.pager, Reading::All).entry(path, entry, &mut first)?;
                let Some(error) = first.0 else {
                    return Ok(Some(entry.clone()));
                };
                self.lose(path, error);
                return Ok(None);
            }
            Node::Map(map) => Node::Map(self.map(map, path)?),
            Node::Vector(map) => Node::Vector(self.map(map, path)?),
        };
        let attrs = entry.attrs.clone();
        Ok(Some(Entry { attrs, node }))
    }

    fn map(&mut self, map: &Map, path: &mut Vec<Key>) -> Result<Map, TreeError> {
        let (before, mut left) = (self.lost.len(), Vec::new());
        self.run(&map.0, &Expected::default(), path, &mut left)?;
        if self.lost.len() == before {
            return Ok(map.clone());
        }
        Ok(Map::from_sorted(left))
    }

    /// Collects what is left of a run.
    fn run(
        &mut self,
        link: &Link,
        expected: &Expected,
        path: &mut Vec<Key>,
        left: &mut Vec<(Key, Entry)>,
    ) -> Result<(), TreeError> {
        let read;
        let body = match link {
            Link::Mem(run) => &run.body,
            Link::Page(page) => match verified_run(self.pager, page, expected) {
                Ok((body, _)) => {
                    read = body;
                    &read
                }
                Err(error) if is_silence(&error) => return Err(error),
                Err(error) => {
                    self.lose(path, error);
                    return Ok(());
                }
            },
        };
        match body {
            Body::Leaf(items) => {
                for (key, entry) in items {
                    path.push(key.clone());
                    let kept = self.entry(entry, path);
                    path.pop();
                    left.extend(kept?.map(|entry| (key.clone(), entry)));
                }
            }
            Body::Branch { level, children } => {
                for (at, child) in children.iter().enumerate() {
                    let expected = Expected::of_child(*level, children, at);
                    self.run(&child.link, &expected, path, left)?;
                }
            }
        }
        Ok(())
    }

    fn lose(&mut self, path: &[Key], error: TreeError) {
        self.lost.push((KeyPath::from(path.to_vec()), error));
    }
}
