//! What is done to the store.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use konserve_fs::backend::Precondition;

use super::fixture::{Fixture, soon};

/// One damage.
#[derive(Clone, Debug)]
pub enum Case {
    FileBit {
        file: PathBuf,
        at: usize,
        bit: u32,
    },
    FileCut {
        file: PathBuf,
        to: usize,
    },
    FileGone {
        file: PathBuf,
    },
    FilesSwapped {
        a: PathBuf,
        b: PathBuf,
    },
    FramesSwapped {
        file: PathBuf,
        a: usize,
        b: usize,
    },
    BlobBit {
        address: Vec<u8>,
        at: usize,
        bit: u32,
    },
    BlobCut {
        address: Vec<u8>,
        to: usize,
    },
    PageGone {
        address: Vec<u8>,
    },
    BlobsSwapped {
        a: Vec<u8>,
        b: Vec<u8>,
    },
}

/// The bit that is flipped in a byte: another one in each.
fn bit(at: usize) -> u32 {
    u32::try_from(at % 8).unwrap()
}

/// Every case, always in the same order.
pub fn all(fixture: &Fixture) -> Vec<Case> {
    let mut cases = Vec::new();
    let files: Vec<_> = fixture.files.iter().collect();
    for (n, &(file, content)) in files.iter().enumerate() {
        for at in 0..content.len() {
            let (file, bit) = (file.clone(), bit(at));
            cases.push(Case::FileBit { file, at, bit });
        }
        cases.extend((0..content.len()).map(|to| Case::FileCut {
            file: file.clone(),
            to,
        }));
        if !is_a_records(file) {
            cases.push(Case::FileGone { file: file.clone() });
        }
        cases.extend(
            files
                .iter()
                .skip(n + 1)
                .map(|&(other, _)| Case::FilesSwapped {
                    a: file.clone(),
                    b: other.clone(),
                }),
        );
        let frames = frames(file, content).len();
        for a in 0..frames {
            cases.extend((a + 1..frames).map(|b| Case::FramesSwapped {
                file: file.clone(),
                a,
                b,
            }));
        }
    }
    let blobs: Vec<_> = fixture.blobs.iter().collect();
    for (n, &(address, bytes)) in blobs.iter().enumerate() {
        for at in 0..bytes.len() {
            let (address, bit) = (address.clone(), bit(at));
            cases.push(Case::BlobBit { address, at, bit });
        }
        cases.extend((0..bytes.len()).map(|to| Case::BlobCut {
            address: address.clone(),
            to,
        }));
        if address[0] == b'p' {
            let address = address.clone();
            cases.push(Case::PageGone { address });
        }
        cases.extend(
            blobs
                .iter()
                .skip(n + 1)
                .map(|&(other, _)| Case::BlobsSwapped {
                    a: address.clone(),
                    b: other.clone(),
                }),
        );
    }
    cases
}

/// Whether a file is that of a record in a store of files, where removing it is how a key is removed:
/// nothing tells it from damage.
fn is_a_records(file: &Path) -> bool {
    file.starts_with("files/blobs/72")
}

/// Where the frames of a log begin and end.
fn frames(file: &Path, content: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    if file
        .extension()
        .is_none_or(|extension| extension != "journal")
    {
        return found;
    }
    let mut at = 64;
    while let Some(length) = content.get(at..at + 4) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        let end = at + (36 + length).next_multiple_of(8);
        found.push((at, end));
        at = end;
    }
    found
}

impl Case {
    /// Whether the damage may look like something that was never finished being written.
    pub fn may_be_a_torn_end(&self) -> bool {
        matches!(self, Self::FileCut { .. }) && self.is_in_a_journal()
    }

    /// Whether a file of a journal was damaged in place or cut.
    pub fn is_in_a_journal(&self) -> bool {
        let file = match self {
            Self::FileCut { file, .. }
            | Self::FileBit { file, .. }
            | Self::FramesSwapped { file, .. } => file,
            _ => return false,
        };
        file.extension()
            .is_some_and(|extension| extension == "journal")
    }

    pub fn class(&self) -> &'static str {
        let of = |file: &Path, classes: [&'static str; 6]| {
            let name = file.to_str().unwrap();
            let parts = ["journal/", "/log/", "/tables/", "/blobs/", "/packs/"];
            let place = parts.iter().position(|part| name.contains(part));
            classes[place.unwrap_or(5)]
        };
        match self {
            Self::FileBit { file, .. } => of(
                file,
                [
                    "journal bit",
                    "engine log bit",
                    "table bit",
                    "blob file bit",
                    "pack bit",
                    "engine file bit",
                ],
            ),
            Self::FileCut { file, .. } => of(
                file,
                [
                    "journal cut",
                    "engine log cut",
                    "table cut",
                    "blob file cut",
                    "pack cut",
                    "engine file cut",
                ],
            ),
            Self::FileGone { .. } => "file gone",
            Self::FilesSwapped { .. } => "files swapped",
            Self::FramesSwapped { .. } => "journal frames swapped",
            Self::BlobBit { address, .. } if address[0] == b'p' => "page bit",
            Self::BlobBit { .. } => "record bit",
            Self::BlobCut { address, .. } if address[0] == b'p' => "page cut",
            Self::BlobCut { .. } => "record cut",
            Self::PageGone { .. } => "page gone",
            Self::BlobsSwapped { .. } => "blobs swapped",
        }
    }

    /// Does it to the copy in `dir`.
    pub fn inflict(&self, fixture: &Fixture, dir: &Path) {
        let put = |address: &[u8], bytes: &[u8]| {
            let backend = fixture.kind.backend(dir);
            backend
                .put(address, bytes, Precondition::Any, soon())
                .unwrap();
            backend.sync(soon()).unwrap();
        };
        match self {
            Self::FileBit { file, at, bit } => {
                let mut content = fixture.files[file].clone();
                content[*at] ^= 1 << bit;
                fs::write(dir.join(file), content).unwrap();
            }
            Self::FileCut { file, to } => {
                fs::write(dir.join(file), &fixture.files[file][..*to]).unwrap();
            }
            Self::FileGone { file } => fs::remove_file(dir.join(file)).unwrap(),
            Self::FilesSwapped { a, b } => {
                fs::write(dir.join(a), &fixture.files[b]).unwrap();
                fs::write(dir.join(b), &fixture.files[a]).unwrap();
            }
            Self::FramesSwapped { file, a, b } => {
                let content = &fixture.files[file];
                let frames = frames(file, content);
                let ((a, a_end), (b, b_end)) = (frames[*a], frames[*b]);
                let parts = [
                    &content[..a],
                    &content[b..b_end],
                    &content[a_end..b],
                    &content[a..a_end],
                    &content[b_end..],
                ];
                fs::write(dir.join(file), parts.concat()).unwrap();
            }
            Self::BlobBit { address, at, bit } => {
                let mut bytes = fixture.blobs[address].clone();
                bytes[*at] ^= 1 << bit;
                put(address, &bytes);
            }
            Self::BlobCut { address, to } => put(address, &fixture.blobs[address][..*to]),
            Self::PageGone { address } => {
                let backend = fixture.kind.backend(dir);
                backend.delete(address, Precondition::Any, soon()).unwrap();
                backend.sync(soon()).unwrap();
            }
            Self::BlobsSwapped { a, b } => {
                let backend = fixture.kind.backend(dir);
                for (address, other) in [(a, b), (b, a)] {
                    let bytes = &fixture.blobs[other];
                    backend
                        .put(address, bytes, Precondition::Any, soon())
                        .unwrap();
                }
                backend.sync(soon()).unwrap();
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileBit { file, at, bit } => {
                write!(f, "bit {bit} of byte {at} of {}", file.display())
            }
            Self::FileCut { file, to } => write!(f, "{} cut to {to}", file.display()),
            Self::FileGone { file } => write!(f, "{} removed", file.display()),
            Self::FilesSwapped { a, b } => write!(f, "{} and {} swapped", a.display(), b.display()),
            Self::FramesSwapped { file, a, b } => {
                write!(f, "frames {a} and {b} of {} swapped", file.display())
            }
            Self::BlobBit { address, at, bit } => {
                write!(f, "bit {bit} of byte {at} of {}", address.escape_ascii())
            }
            Self::BlobCut { address, to } => write!(f, "{} cut to {to}", address.escape_ascii()),
            Self::PageGone { address } => write!(f, "{} removed", address.escape_ascii()),
            Self::BlobsSwapped { a, b } => {
                write!(f, "{} and {} swapped", a.escape_ascii(), b.escape_ascii())
            }
        }
    }
}
