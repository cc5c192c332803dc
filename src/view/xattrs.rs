//! Access control lists as extended attributes: kept in step with the mode, handed down at creation.
//! The kernel checks them.
//!
//! The value is that of `system.posix_acl_access` and `system.posix_acl_default` in Linux: version 2
//! as u32, then entries of tag u16, permissions u16, id u32, little-endian.

use crate::tree::Attrs;

/// The access list of a file or directory.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The list that new entries of a directory get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy)]
struct Ace {
    tag: u16,
    perm: u16,
    id: u32,
}

fn parse(bytes: &[u8]) -> Option<Vec<Ace>> {
    let (version, mut rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let mut aces = Vec::new();
    while let Some((ace, more)) = rest.split_first_chunk::<8>() {
        let [t0, t1, p0, p1, i0, i1, i2, i3] = *ace;
        aces.push(Ace {
            tag: u16::from_le_bytes([t0, t1]),
            perm: u16::from_le_bytes([p0, p1]) & 7,
            id: u32::from_le_bytes([i0, i1, i2, i3]),
        });
        rest = more;
    }
    (rest.is_empty() && aces.iter().any(|a| a.tag == USER_OBJ)).then_some(aces)
}

fn print(aces: &[Ace]) -> Vec<u8> {
    let mut out = VERSION.to_le_bytes().to_vec();
    for a in aces {
        out.extend(a.tag.to_le_bytes());
        out.extend(a.perm.to_le_bytes());
        out.extend(a.id.to_le_bytes());
    }
    out
}

fn mode_of(aces: &[Ace]) -> u32 {
    let perm = |tag| {
        aces.iter()
            .find(|a| a.tag == tag)
            .map(|a| u32::from(a.perm))
    };
    let group = perm(MASK).or_else(|| perm(GROUP_OBJ)).unwrap_or(0);
    (perm(USER_OBJ).unwrap_or(0) << 6) | (group << 3) | perm(OTHER).unwrap_or(0)
}

fn set_mode(aces: &mut [Ace], mode: u32) {
    let bits = |shift: u32| u16::try_from((mode >> shift) & 7).unwrap_or(0);
    let masked = aces.iter().any(|a| a.tag == MASK);
    for a in aces {
        match a.tag {
            USER_OBJ => a.perm = bits(6),
            MASK => a.perm = bits(3),
            GROUP_OBJ if !masked => a.perm = bits(3),
            OTHER => a.perm = bits(0),
            _ => {}
        }
    }
}

/// Whether a value is a list.
pub fn is_valid(value: &[u8]) -> bool {
    parse(value).is_some()
}

/// The permission bits of a list, and whether it says more than they do.
pub fn describe(value: &[u8]) -> Option<(u32, bool)> {
    let aces = parse(value)?;
    let more = aces
        .iter()
        .any(|a| !matches!(a.tag, USER_OBJ | GROUP_OBJ | OTHER));
    Some((mode_of(&aces), more))
}

/// Brings the access list in step with a new mode.
pub fn follow_mode(attrs: &mut Attrs, mode: u32) {
    if let Some(mut aces) = attrs.xattrs.get(ACCESS).and_then(|v| parse(v)) {
        set_mode(&mut aces, mode);
        attrs.xattrs.insert(ACCESS.to_vec(), print(&aces));
    }
}

/// What a new entry gets from its directory's default list: it takes the place of the umask.
/// Gives the permission bits; `None` if the directory has no such list.
pub fn inherit(dir: &Attrs, attrs: &mut Attrs, mode: u32, directory: bool) -> Option<u32> {
    let default = dir.xattrs.get(DEFAULT)?;
    let mut aces = parse(default)?;
    let allowed = mode_of(&aces);
    set_mode(&mut aces, mode & allowed);
    if aces
        .iter()
        .any(|a| !matches!(a.tag, USER_OBJ | GROUP_OBJ | OTHER))
    {
        attrs.xattrs.insert(ACCESS.to_vec(), print(&aces));
    }
    if directory {
        attrs.xattrs.insert(DEFAULT.to_vec(), default.clone());
    }
    Some((mode & !0o777) | (mode & allowed))
}
