//! The notations that documents have, and the names of documents and of the directories they are in.

use crate::value::{TextError, Value, edn, json};

/// A notation for whole values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// As in [`json`].
    Json,
    /// As in [`edn`].
    Edn,
}

/// What tells the directory of a name that ends as documents do from such a document.
const MORE: &[u8] = b".d";

impl Form {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Edn];

    /// The directory in `.kfs`.
    pub fn directory(self) -> &'static [u8] {
        match self {
            Self::Json => b"json",
            Self::Edn => b"edn",
        }
    }

    /// For messages.
    fn title(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Edn => "EDN",
        }
    }

    /// How the names of documents end.
    pub fn suffix(self) -> &'static [u8] {
        match self {
            Self::Json => b".json",
            Self::Edn => b".edn",
        }
    }

    /// The text of a value, over several lines.
    pub fn show(self, value: &Value) -> String {
        let mut text = match self {
            Self::Json => json::pretty(value),
            Self::Edn => edn::pretty(value),
        };
        text.push('\n');
        text
    }

    /// The value that a text is.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(self, bytes: &[u8]) -> Result<Value, String> {
        let text = TextError::check_utf8(bytes);
        let value = text.and_then(|text| match self {
            Self::Json => json::parse(text),
            Self::Edn => edn::parse(text),
        });
        value.map_err(|e| format!("not valid {}: {e}", self.title()))
    }

    /// What a text means where a value was shown.
    pub fn over(self, new: Value, old: &Value) -> Value {
        match self {
            Self::Json => json::keep_numbers(new, old),
            Self::Edn => new,
        }
    }

    /// The name in the mount of what a document is of; `None` for a name that is no document's.
    pub fn stem(self, name: &[u8]) -> Option<&[u8]> {
        name.strip_suffix(self.suffix())
            .filter(|stem| !stem.is_empty())
    }

    /// Whether a directory of this name needs [`MORE`]: its name is that of a document, or of a
    /// directory that needs it, with any number of it.
    fn needs_more(self, name: &[u8]) -> bool {
        let mut name = name;
        while let Some(rest) = name.strip_suffix(MORE) {
            name = rest;
        }
        self.stem(name).is_some()
    }

    /// How a directory is shown.
    pub fn directory_name(self, name: Vec<u8>) -> Vec<u8> {
        if self.needs_more(&name) {
            [&name, MORE].concat()
        } else {
            name
        }
    }

    /// The name in the mount of what is shown under the name of a directory.
    pub fn shown_directory(self, name: &[u8]) -> Option<&[u8]> {
        if self.needs_more(name) {
            name.strip_suffix(MORE)
        } else {
            Some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_directories_never_share_a_name() {
        let form = Form::Json;
        let names = [
            "a",
            "a.json",
            "a.json.d",
            "a.json.d.d",
            "a.d",
            ".json",
            "a.edn",
            "a.json.json",
        ];
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            let document = [name.as_bytes(), form.suffix()].concat();
            assert_eq!(form.stem(&document), Some(name.as_bytes()));
            let directory = form.directory_name(name.into());
            assert_eq!(form.shown_directory(&directory), Some(name.as_bytes()));
            assert_eq!(form.stem(&directory), None, "{name}");
            assert!(seen.insert(document) & seen.insert(directory), "{name}");
        }
        assert_eq!(form.shown_directory(b"a.json"), None);
        assert_eq!(form.stem(b".json"), None);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let said = Form::Json.read(b"{\n \"a\": }").unwrap_err();
        assert!(
            said.starts_with("not valid JSON: line 2, column 7: "),
            "{said}"
        );
        let said = Form::Edn.read(b"{:a\n \xff").unwrap_err();
        assert_eq!(said, "not valid EDN: line 2, column 2: this is not UTF-8");
    }
}
