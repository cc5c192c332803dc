//! The names of linked files as they are, beside how many the hidden document says there are (see
//! [`crate::tree::links`]).

use std::collections::BTreeMap;

use super::Finding;
use crate::store::show_key;
use crate::tree::links::{self, Links};
use crate::tree::{Entry, Map, Node, Pager, TreeError};
use crate::value::{Key, KeyPath};

/// Names by document.
type ByDocument = BTreeMap<Key, u64>;

/// The names that stand in documents.
#[derive(Debug, Default)]
pub(super) struct Names {
    files: BTreeMap<u64, ByDocument>,
    docs: ByDocument,
}

impl Names {
    /// Counts those in a document.
    pub fn add(&mut self, doc: &Key, entry: &Entry, pager: &Pager) -> Result<(), TreeError> {
        links::each(entry, pager, &mut |id| {
            let holders = self.files.entry(id).or_default();
            *holders.entry(doc.clone()).or_default() += 1;
            *self.docs.entry(doc.clone()).or_default() += 1;
        })
    }

    fn of(&self, id: u64) -> ByDocument {
        self.files.get(&id).cloned().unwrap_or_default()
    }

    /// Where the hidden document counts otherwise; `paths` lead to the files.
    pub fn compare(
        &self,
        root: Option<&Entry>,
        paths: &BTreeMap<u64, KeyPath>,
        pager: &Pager,
    ) -> Result<Vec<Finding>, TreeError> {
        let links = Links::new(root, pager);
        let mut findings = Vec::new();
        for id in links.numbers()? {
            let what = format!("the linked file {id}");
            let there = self.of(id);
            if there.is_empty() {
                let reason = "no name leads to it";
                let mut finding = Finding::damage(&[], what, reason);
                finding.harmless = true;
                findings.push(finding);
                continue;
            }
            let path = paths.get(&id).map_or(&[][..], |path| path);
            for (doc, said, there) in differences(links.holders(id)?, there) {
                let doc = show_key(&doc);
                let reason = format!("it counts {said} names in {doc}, and there are {there}");
                findings.push(Finding::damage(path, &*what, reason));
            }
        }
        for (doc, said, there) in differences(links.names()?, self.docs.clone()) {
            let reason = format!("{said} are counted, and there are {there}");
            findings.push(Finding::damage(&[doc], "the names of linked files", reason));
        }
        Ok(findings)
    }

    /// The hidden document with the counts as they are; `None` if that is what it says.
    pub fn correct(&self, root: &Entry, pager: &Pager) -> Result<Option<Entry>, TreeError> {
        let links = Links::new(Some(root), pager);
        let Node::Map(map) = &root.node else {
            return Ok(None);
        };
        let mut new = map.clone();
        let mut changed = false;
        for id in links.numbers()? {
            let there = self.of(id);
            let place = Key::index(id);
            let known = map.get(&place, pager)?.map(|entry| entry.node);
            if let Some(Node::Map(mut file)) = known
                && !differences(links.holders(id)?, there.clone()).is_empty()
            {
                file.insert(&Key::index(1), links::counts(&there), pager)?;
                new.insert(&place, Entry::plain(Node::Map(file)), pager)?;
                changed = true;
            }
        }
        if !differences(links.names()?, self.docs.clone()).is_empty() {
            self.put_names(&mut new, pager)?;
            changed = true;
        }
        let attrs = root.attrs.clone();
        let node = Node::Map(new);
        Ok(changed.then_some(Entry { attrs, node }))
    }

    fn put_names(&self, map: &mut Map, pager: &Pager) -> Result<(), TreeError> {
        let names = links::names();
        if let Some(key) = names.last() {
            map.insert(key, links::counts(&self.docs), pager)?;
        }
        Ok(())
    }
}

/// Where two counts differ.
fn differences(said: Vec<(Key, u64)>, mut there: ByDocument) -> Vec<(Key, u64, u64)> {
    let mut found = Vec::new();
    for (doc, said) in said {
        let there = there.remove(&doc).unwrap_or(0);
        if said != there {
            found.push((doc, said, there));
        }
    }
    found.extend(there.into_iter().map(|(doc, there)| (doc, 0, there)));
    found
}
