//! The steps of a sequence: system calls with their arguments, and how they are chosen.

use crate::random::Random;

/// How many open files a sequence has.
pub const SLOTS: usize = 4;

/// The users that take part: uid, gid and further groups.
pub const ACTORS: &[(u32, u32, &[u32])] =
    &[(0, 0, &[]), (1001, 1001, &[2000]), (1002, 1002, &[2000])];

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Open {
        slot: usize,
        path: String,
        flags: i32,
        mode: u32,
    },
    Close {
        slot: usize,
    },
    Read {
        slot: usize,
        len: usize,
    },
    Pread {
        slot: usize,
        at: i64,
        len: usize,
    },
    Write {
        slot: usize,
        len: usize,
        fill: u8,
    },
    Pwrite {
        slot: usize,
        at: i64,
        len: usize,
        fill: u8,
    },
    Seek {
        slot: usize,
        at: i64,
        whence: i32,
    },
    Ftruncate {
        slot: usize,
        len: i64,
    },
    Truncate {
        path: String,
        len: i64,
    },
    Fallocate {
        slot: usize,
        mode: i32,
        at: i64,
        len: i64,
    },
    Sync {
        slot: usize,
        data: bool,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Rmdir {
        path: String,
    },
    Unlink {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        flags: u32,
    },
    Link {
        from: String,
        to: String,
        follow: bool,
    },
    Symlink {
        target: String,
        path: String,
    },
    Readlink {
        path: String,
    },
    Mknod {
        path: String,
        mode: u32,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Fchmod {
        slot: usize,
        mode: u32,
    },
    Chown {
        path: String,
        uid: u32,
        gid: u32,
        follow: bool,
    },
    Utimens {
        path: String,
        times: [(i64, i64); 2],
        follow: bool,
    },
    Stat {
        path: String,
        follow: bool,
    },
    Fstat {
        slot: usize,
    },
    Access {
        path: String,
        mode: i32,
    },
    SetXattr {
        path: String,
        name: String,
        len: usize,
        flags: i32,
    },
    GetXattr {
        path: String,
        name: String,
    },
    ListXattr {
        path: String,
    },
    RemoveXattr {
        path: String,
        name: String,
    },
    List {
        path: String,
    },
    CopyRange {
        from: usize,
        from_at: i64,
        to: usize,
        to_at: i64,
        len: usize,
    },
    MapWrite {
        slot: usize,
        at: usize,
        fill: u8,
    },
    Umask {
        mask: u32,
    },
}

/// A call and who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub actor: usize,
    pub call: Call,
}

fn name(r: &mut Random) -> String {
    (*r.pick(&["a", "b", "c"])).to_owned()
}

fn path(r: &mut Random) -> String {
    let mut path = name(r);
    for _ in 0..*r.pick(&[0, 0, 0, 1, 1, 2]) {
        path.push('/');
        path.push_str(&name(r));
    }
    match r.below(60) {
        0 => path.push('/'),
        1 => path.push_str("/."),
        2 => path.push_str("/.."),
        3 => path.insert_str(0, "./"),
        4 => path = "n".repeat(255),
        5 => path = "n".repeat(256),
        6 => path = ".".to_owned(),
        _ => {}
    }
    path
}

fn mode(r: &mut Random) -> u32 {
    *r.pick(&[
        0o644, 0o755, 0o777, 0o700, 0o600, 0o000, 0o1777, 0o2775, 0o4755, 0o6755, 0o444, 0o070,
    ])
}

/// The mode of a new file. None is setgid, as the mask may leave one that its group may not execute:
/// FUSE has a write by others leave that bit, ext4 takes it away.
fn file_mode(r: &mut Random) -> u32 {
    mode(r) & !libc::S_ISGID
}

fn xattr(r: &mut Random) -> String {
    (*r.pick(&["user.x", "user.x", "user.y", "trusted.t", "bad", "user."])).to_owned()
}

fn at(r: &mut Random) -> i64 {
    *r.pick(&[0, 0, 1, 100, 4095, 4096, 65_536, 70_000, 200_000, -1])
}

fn len(r: &mut Random) -> usize {
    *r.pick(&[0, 1, 5, 100, 4096, 5000, 65_536, 80_000])
}

/// A random step.
#[allow(clippy::too_many_lines, reason = "a table of calls")]
pub fn random(r: &mut Random) -> Step {
    // Mostly root: refused calls change nothing, and a sequence of them shows little.
    let actor = *r.pick(&[0, 0, 0, 1, 1, 2]);
    let slot = r.below(SLOTS);
    let call = match r.below(52) {
        0..=5 => {
            let access = *r.pick(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR]);
            let extra = *r.pick(&[
                0,
                libc::O_CREAT,
                libc::O_CREAT,
                libc::O_CREAT | libc::O_EXCL,
                libc::O_CREAT | libc::O_TRUNC,
                libc::O_TRUNC,
                libc::O_APPEND | libc::O_CREAT,
                libc::O_DIRECTORY,
                libc::O_NOFOLLOW,
            ]);
            // An open of a FIFO must not wait.
            let flags = access | extra | libc::O_NONBLOCK;
            Call::Open {
                slot,
                path: path(r),
                flags,
                mode: file_mode(r),
            }
        }
        6 => Call::Close { slot },
        7 => Call::Read { slot, len: len(r) },
        8 => Call::Pread {
            slot,
            at: at(r),
            len: len(r),
        },
        9..=11 => Call::Write {
            slot,
            len: len(r),
            fill: *r.pick(b"xyz\n\xff"),
        },
        12..=13 => Call::Pwrite {
            slot,
            at: at(r),
            len: len(r),
            fill: *r.pick(b"pq\x00"),
        },
        14 => Call::Seek {
            slot,
            at: at(r),
            whence: *r.pick(&[libc::SEEK_SET, libc::SEEK_CUR, libc::SEEK_END]),
        },
        15 => Call::Ftruncate { slot, len: at(r) },
        16 => Call::Truncate {
            path: path(r),
            len: at(r),
        },
        17 => {
            let mode = *r.pick(&[
                0,
                libc::FALLOC_FL_KEEP_SIZE,
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                libc::FALLOC_FL_ZERO_RANGE,
                libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
            ]);
            Call::Fallocate {
                slot,
                mode,
                at: at(r),
                len: *r.pick(&[0, 1, 4096, 100_000, -1]),
            }
        }
        18 => Call::Sync {
            slot,
            data: r.below(2) == 0,
        },
        19..=21 => Call::Mkdir {
            path: path(r),
            mode: mode(r),
        },
        22 => Call::Rmdir { path: path(r) },
        23..=24 => Call::Unlink { path: path(r) },
        25..=28 => {
            let flags = *r.pick(&[
                0,
                0,
                0,
                libc::RENAME_NOREPLACE,
                libc::RENAME_EXCHANGE,
                libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE,
            ]);
            Call::Rename {
                from: path(r),
                to: path(r),
                flags,
            }
        }
        29..=31 => Call::Link {
            from: path(r),
            to: path(r),
            follow: r.below(3) == 0,
        },
        32..=33 => {
            let target = match r.below(4) {
                0 => "../a".to_owned(),
                1 => "nowhere".to_owned(),
                _ => path(r),
            };
            Call::Symlink {
                target,
                path: path(r),
            }
        }
        34 => Call::Readlink { path: path(r) },
        35 => {
            let kind = *r.pick(&[libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK, libc::S_IFCHR]);
            Call::Mknod {
                path: path(r),
                mode: kind | file_mode(r),
            }
        }
        36 => Call::Chmod {
            path: path(r),
            mode: mode(r),
        },
        37 => Call::Fchmod {
            slot,
            mode: mode(r),
        },
        38..=39 => {
            let id = |r: &mut Random| *r.pick(&[0, 1001, 1002, 2000, u32::MAX]);
            let (uid, gid) = (id(r), id(r));
            // A call that sets nothing takes setuid away: FUSE lets everybody do that.
            let uid = if (uid, gid) == (u32::MAX, u32::MAX) {
                0
            } else {
                uid
            };
            Call::Chown {
                path: path(r),
                uid,
                gid,
                follow: r.below(2) == 0,
            }
        }
        40 => {
            let time = |r: &mut Random| {
                *r.pick(&[
                    (1_000_000_000, 123_456_789),
                    (0, 0),
                    (0, libc::UTIME_NOW),
                    (0, libc::UTIME_OMIT),
                    (5, 2_000_000_000),
                ])
            };
            Call::Utimens {
                path: path(r),
                times: [time(r), time(r)],
                follow: r.below(2) == 0,
            }
        }
        41 => Call::Stat {
            path: path(r),
            follow: r.below(2) == 0,
        },
        42 => Call::Fstat { slot },
        43 => Call::Access {
            path: path(r),
            mode: *r.pick(&[libc::F_OK, libc::R_OK, libc::W_OK, libc::X_OK, 7]),
        },
        44 => Call::SetXattr {
            path: path(r),
            name: xattr(r),
            len: *r.pick(&[0, 1, 100]),
            flags: *r.pick(&[0, 0, libc::XATTR_CREATE, libc::XATTR_REPLACE]),
        },
        45 => Call::GetXattr {
            path: path(r),
            name: xattr(r),
        },
        46 => Call::ListXattr { path: path(r) },
        47 => Call::RemoveXattr {
            path: path(r),
            name: xattr(r),
        },
        48 => Call::List { path: path(r) },
        49 => Call::CopyRange {
            from: slot,
            from_at: at(r),
            to: r.below(SLOTS),
            to_at: at(r),
            len: len(r),
        },
        50 => Call::MapWrite {
            slot,
            at: *r.pick(&[0, 10, 4096, 65_530]),
            fill: b'm',
        },
        _ => Call::Umask {
            mask: *r.pick(&[0, 0o022, 0o077]),
        },
    };
    Step { actor, call }
}
