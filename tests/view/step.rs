//! What programs and the API do, as plain data: a step means something after any other steps, so a
//! sequence stays one when parts of it are left out.

use std::collections::BTreeMap;

use konserve_fs::value::{Key, Value};
use konserve_fs::view::render::TypeName;

/// Names that steps choose from.
pub const NAMES: [&str; 7] = ["a", "b", "0", "1", "2", "5", "x.tmp"];

/// Which of the things that are there, in the order of their making.
pub type Pick = u8;
/// Which of the [`NAMES`].
pub type Name = u8;

#[derive(Clone, Debug)]
pub enum Step {
    Create {
        dir: Pick,
        name: Name,
        mode: u8,
        access: u8,
        exclusive: bool,
        user: bool,
    },
    Open {
        file: Pick,
        access: u8,
        truncate: bool,
        user: bool,
    },
    Write {
        handle: Pick,
        at: u32,
        data: u8,
        append: bool,
        kill: bool,
    },
    Resize {
        handle: Pick,
        size: u32,
        user: bool,
    },
    Truncate {
        node: Pick,
        size: u32,
        user: bool,
    },
    Copy {
        from: Pick,
        to: Pick,
        at: u32,
        len: u32,
    },
    Zero {
        handle: Pick,
        at: u32,
        len: u32,
        mode: u8,
    },
    Read {
        handle: Pick,
    },
    Flush {
        handle: Pick,
    },
    Fsync {
        handle: Pick,
    },
    Release {
        handle: Pick,
    },
    Mkdir {
        dir: Pick,
        name: Name,
        mode: u8,
        user: bool,
    },
    Mknod {
        dir: Pick,
        name: Name,
        fifo: bool,
    },
    Symlink {
        dir: Pick,
        name: Name,
    },
    Unlink {
        dir: Pick,
        name: Name,
    },
    Link {
        node: Pick,
        dir: Pick,
        name: Name,
        open: bool,
    },
    Rmdir {
        dir: Pick,
        name: Name,
    },
    Rename {
        dir: Pick,
        name: Name,
        to_dir: Pick,
        to_name: Name,
        flags: u8,
    },
    Chmod {
        node: Pick,
        mode: u8,
        open: bool,
    },
    Chown {
        node: Pick,
        open: bool,
    },
    Utimens {
        node: Pick,
        secs: i64,
        open: bool,
    },
    SetXattr {
        node: Pick,
        name: u8,
        value: u8,
        flags: u8,
        open: bool,
    },
    RemoveXattr {
        node: Pick,
        name: u8,
    },
    SetType {
        node: Pick,
        wanted: u8,
        open: bool,
    },
    RemoveType {
        node: Pick,
    },
    OpenDir {
        dir: Pick,
    },
    List {
        list: Pick,
        items: u8,
        plus: bool,
        rewind: bool,
    },
    CloseDir {
        list: Pick,
    },
    FsyncDir {
        list: Pick,
    },
    Look {
        node: Pick,
    },
    Miss {
        dir: Pick,
        name: Name,
    },
    Forget {
        ino: Pick,
        all: bool,
    },
    Assoc {
        dir: Pick,
        name: Name,
        deeper: Option<Name>,
        value: u8,
    },
    AssocSame {
        node: Pick,
    },
    Update {
        dir: Pick,
        name: Name,
    },
    Dissoc {
        dir: Pick,
        name: Name,
    },
    ApiRename {
        dir: Pick,
        name: Name,
        to_dir: Pick,
        to_name: Name,
        no_replace: bool,
    },
    ApiSwap {
        dir: Pick,
        name: Name,
        to_dir: Pick,
        to_name: Name,
    },
    Fold,
    Remount {
        kill: bool,
        look: bool,
    },
}

/// What is written to files.
pub fn data(pick: u8) -> Vec<u8> {
    const SHORT: [&[u8]; 12] = [
        b"42\n",
        b"7",
        b"hello\n",
        b"x",
        b"\xff\xfe\n",
        b":kw\n",
        b"1.50\n",
        b"",
        b"\n",
        b"nil\n",
        b" 42 \n",
        b"[1 2]\n",
    ];
    match SHORT.get(usize::from(pick)) {
        Some(bytes) => bytes.to_vec(),
        // More than a chunk.
        None => (0..70_000u32)
            .map(|i| b'a' + u8::try_from(i % 23).unwrap())
            .collect(),
    }
}
pub const DATA: u8 = 13;

/// What is written through the API.
pub fn value(pick: u8) -> Value {
    let map = |items: &[(&str, Value)]| {
        Value::Map(
            items
                .iter()
                .map(|(k, v)| (Key::text(k), v.clone()))
                .collect(),
        )
    };
    let text = |t: &str| Value::Text(t.to_owned());
    match pick {
        0 => Value::Int(42),
        1 => Value::Int(43),
        2 => text("hello"),
        3 => text("api\n"),
        4 => Value::Bytes(vec![0xff, 0]),
        5 => Value::Bytes(b"abc".to_vec()),
        6 => Value::Nil,
        7 => Value::Keyword("kw".into()),
        8 => Value::Float(1.5),
        9 => Value::Map(BTreeMap::new()),
        10 => Value::Vector(Vec::new()),
        11 => map(&[("a", Value::Int(1)), ("b", text("hello"))]),
        12 => map(&[("a", map(&[("0", Value::Int(1))])), ("0", Value::Nil)]),
        13 => Value::Vector(vec![Value::Int(1), text("x"), Value::Nil, Value::Int(4)]),
        14 => Value::Vector(vec![Value::Nil, map(&[("a", text("deep"))])]),
        15 => text(&"long ".repeat(20_000)),
        _ => text(""),
    }
}
pub const VALUES: u8 = 17;

pub const TYPES: [TypeName; 8] = [
    TypeName::Int,
    TypeName::Float,
    TypeName::Text,
    TypeName::Bytes,
    TypeName::Keyword,
    TypeName::Map,
    TypeName::Vector,
    TypeName::List,
];

pub const MODES: [u32; 6] = [0o644, 0o600, 0o755, 0o4755, 0o2755, 0o6711];

/// A supply of random numbers that a seed replays.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    pub fn under(&mut self, n: u8) -> u8 {
        u8::try_from(self.below(u64::from(n))).unwrap()
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const KINDS: usize = 39;

/// Which steps a sequence is made of: each sequence leaves some out and prefers others.
pub fn taste(random: &mut Random) -> [u64; KINDS] {
    let mut weights = [0; KINDS];
    for weight in &mut weights {
        *weight = [0, 1, 2, 4, 8][usize::from(random.under(5))];
    }
    // Without these little happens.
    for often in [0, 2, 10, 11, 30, 37] {
        weights[often] += 3;
    }
    weights[KINDS - 1] = weights[KINDS - 1].min(1);
    weights
}

/// Draws the next step.
pub fn draw(r: &mut Random, weights: &[u64; KINDS]) -> Step {
    let mut at = r.below(weights.iter().sum());
    let mut kind = 0;
    for (i, weight) in weights.iter().enumerate() {
        if at < *weight {
            kind = i;
            break;
        }
        at -= weight;
    }
    make(r, kind)
}

fn offset(r: &mut Random) -> u32 {
    match r.below(10) {
        0 => 65_530 + u32::from(r.under(12)),
        1 => 70_000,
        _ => u32::from(r.under(8)),
    }
}

fn make(r: &mut Random, kind: usize) -> Step {
    // A few directories and names, so that steps meet.
    let dir = if r.one_in(3) { 0 } else { r.byte() };
    let to_dir = if r.one_in(2) { dir } else { r.byte() };
    let (name, to_name) = (r.under(7), r.under(7));
    let (node, handle) = (r.byte(), r.byte());
    let open = r.one_in(3);
    let user = r.one_in(3);
    let mode = r.under(6);
    match kind {
        0 | 1 => Step::Create {
            dir,
            name,
            mode,
            access: r.under(3),
            exclusive: r.one_in(3),
            user,
        },
        2 | 3 => Step::Write {
            handle,
            at: offset(r),
            data: r.under(DATA),
            append: r.one_in(3),
            kill: user,
        },
        4 => Step::Open {
            file: node,
            access: r.under(3),
            truncate: r.one_in(4),
            user,
        },
        5 => Step::Resize {
            handle,
            size: offset(r),
            user,
        },
        6 => Step::Truncate {
            node,
            size: offset(r),
            user,
        },
        7 => Step::Copy {
            from: node,
            to: handle,
            at: offset(r),
            len: offset(r),
        },
        8 => Step::Read { handle },
        9 => Step::Flush { handle },
        10 => Step::Release { handle },
        11 => Step::Mkdir {
            dir,
            name,
            mode,
            user,
        },
        12 => Step::Fsync { handle },
        13 => Step::Mknod {
            dir,
            name,
            fifo: user,
        },
        14 => Step::Symlink { dir, name },
        15 => Step::Unlink { dir, name },
        16 => Step::Rmdir { dir, name },
        17 | 18 => Step::Rename {
            dir,
            name,
            to_dir,
            to_name,
            flags: r.under(5),
        },
        19 => Step::Chmod { node, mode, open },
        20 => Step::Chown { node, open },
        21 => Step::Utimens {
            node,
            secs: 1_000_000_000 + i64::from(r.byte()),
            open,
        },
        22 => Step::SetXattr {
            node,
            name: r.under(2),
            value: r.byte(),
            flags: r.under(3),
            open,
        },
        23 => Step::RemoveXattr {
            node,
            name: r.under(2),
        },
        24 => Step::SetType {
            node,
            wanted: r.under(8),
            open,
        },
        25 => Step::RemoveType { node },
        26 => Step::OpenDir { dir },
        27 => Step::List {
            list: handle,
            items: r.under(4),
            plus: user,
            rewind: r.one_in(8),
        },
        28 => Step::CloseDir { list: handle },
        29 => Step::FsyncDir { list: handle },
        30 => Step::Assoc {
            dir,
            name,
            deeper: r.one_in(4).then_some(to_name),
            value: r.under(VALUES),
        },
        31 if open => Step::Look { node },
        31 => Step::Miss { dir, name },
        32 => Step::Forget {
            ino: node,
            all: r.one_in(2),
        },
        33 => Step::AssocSame { node },
        34 => match r.below(3) {
            0 => Step::Update { dir, name },
            1 => Step::Zero {
                handle,
                at: offset(r),
                len: offset(r),
                mode: r.under(4),
            },
            _ => Step::Fold,
        },
        35 => Step::Dissoc { dir, name },
        36 => {
            if open {
                Step::ApiSwap {
                    dir,
                    name,
                    to_dir,
                    to_name,
                }
            } else {
                Step::ApiRename {
                    dir,
                    name,
                    to_dir,
                    to_name,
                    no_replace: user,
                }
            }
        }
        37 => Step::Link {
            node,
            dir,
            name,
            open,
        },
        _ => Step::Remount {
            kill: !open,
            look: user,
        },
    }
}
