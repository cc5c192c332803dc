//! What can be given with `-o`.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Options of a mount, as given with `-o` in a comma-separated list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`: nothing can be changed through the mount. `rw` is the default.
    pub read_only: bool,
    /// `allow_other`, `allow_root`: who besides the mounting user may use the mount.
    pub audience: Audience,
    /// `default_permissions` (the default): the kernel checks modes, owners and ACLs.
    /// `no_default_permissions`: whoever may use the mount may do everything.
    pub default_permissions: bool,
    /// Owner and mode of entries that have none of their own.
    pub entries: EntryDefaults,
    /// `strict`, `infer`: how written content and types go together.
    pub typing: Typing,
    /// `noatime`: accepted; access times change only when set explicitly in any case.
    pub no_atime: bool,
    /// `suid`; `nosuid` is the default.
    pub suid: bool,
    /// `dev`; `nodev` is the default.
    pub dev: bool,
    /// `exec` (the default) or `noexec`.
    pub exec: bool,
    /// `fsname=NAME`: the source shown in `/proc/mounts`.
    pub fsname: Option<String>,
    /// `subtype=NAME`: the type shown in `/proc/mounts` is `fuse.NAME`.
    pub subtype: String,
    /// `writeback`: the kernel collects writes. Random small writes get faster, creating files and
    /// small reads slower.
    pub writeback: bool,
    /// `cache=BYTES`: memory for decoded pages, with K, M, G for powers of 1024.
    pub cache: Option<u64>,
    /// `nonempty`: the mountpoint may have entries, which the mount then hides.
    pub nonempty: bool,
    /// `threads=N`: operations that can be under way at once. More than there are processors, as
    /// most of them wait for a disk.
    pub threads: NonZeroUsize,
    /// How long the kernel keeps names and attributes without asking. Long, as every change is
    /// told to it; no option, but to be lowered for a store that others change too.
    pub lifetime: Duration,
}

/// Who may use a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The user who mounts.
    #[default]
    Owner,
    /// The user who mounts, and root.
    OwnerAndRoot,
    /// Everybody.
    Everyone,
}

/// How written content and types go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Typing {
    /// Content that does not parse as the declared type is text for the time being.
    #[default]
    Lenient,
    /// Content that does not parse as the declared type is refused.
    Strict,
    /// New content without a type gets one where it is rendered back exactly.
    Infer,
    /// Both of these.
    StrictInfer,
}

impl Typing {
    /// Whether content that does not parse is refused.
    #[must_use]
    pub fn is_strict(self) -> bool {
        matches!(self, Self::Strict | Self::StrictInfer)
    }

    /// Whether new content gets a type.
    #[must_use]
    pub fn infers(self) -> bool {
        matches!(self, Self::Infer | Self::StrictInfer)
    }

    fn with_strict(self) -> Self {
        if self.infers() {
            Self::StrictInfer
        } else {
            Self::Strict
        }
    }

    fn with_infer(self) -> Self {
        if self.is_strict() {
            Self::StrictInfer
        } else {
            Self::Infer
        }
    }
}

/// Owner and mode of entries that have none of their own, because they were made through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryDefaults {
    /// `uid=N`; otherwise the mounting user.
    pub uid: Option<u32>,
    /// `gid=N`; otherwise the mounting user's group.
    pub gid: Option<u32>,
    umask: u32,
    fmask: Option<u32>,
    dmask: Option<u32>,
}

impl Default for EntryDefaults {
    fn default() -> Self {
        Self {
            uid: None,
            gid: None,
            umask: 0o022,
            fmask: None,
            dmask: None,
        }
    }
}

impl EntryDefaults {
    /// Permission bits of a file: 0666 without `fmask` (or `umask`, 022 unless given).
    #[must_use]
    pub fn file_mode(&self) -> u32 {
        0o666 & !self.fmask.unwrap_or(self.umask)
    }

    /// Permission bits of a directory: 0777 without `dmask` (or `umask`).
    #[must_use]
    pub fn dir_mode(&self) -> u32 {
        0o777 & !self.dmask.unwrap_or(self.umask)
    }
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            audience: Audience::default(),
            default_permissions: true,
            entries: EntryDefaults::default(),
            typing: Typing::default(),
            no_atime: false,
            suid: false,
            dev: false,
            exec: true,
            fsname: None,
            subtype: "kfs".to_owned(),
            writeback: false,
            cache: None,
            nonempty: false,
            threads: const { NonZeroUsize::new(4).unwrap() },
            lifetime: Duration::from_secs(3600),
        }
    }
}

/// An option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option of this name.
    #[error("unknown mount option \"{option}\"; known are: {KNOWN}")]
    Unknown {
        /// The option as given.
        option: String,
    },
    /// An option needs a value, and another one than this.
    #[error("mount option {name}={value}: {expected} is needed")]
    BadValue {
        /// The option.
        name: String,
        /// The value as given, empty if there was none.
        value: String,
        /// What can be given.
        expected: &'static str,
    },
    /// An option that is given or not, and takes no value.
    #[error("mount option {name} takes no value")]
    NoValue {
        /// The option.
        name: String,
    },
}

const KNOWN: &str = "ro rw allow_other allow_root default_permissions no_default_permissions \
    uid=N gid=N umask=OCTAL fmask=OCTAL dmask=OCTAL strict infer atime noatime suid nosuid dev nodev \
    exec noexec fsname=NAME subtype=NAME writeback cache=BYTES nonempty threads=N, and those of \
    /etc/fstab: defaults async auto noauto user nouser users owner group relatime _netdev nofail x-*";

impl MountOptions {
    /// Reads a comma-separated list. Of two contradicting options the later one wins, as in
    /// mount(8); a comma or backslash within a value is written `\,` or `\\`.
    ///
    /// # Errors
    /// [`OptionError`] on the first option that is unknown or has a wrong value.
    pub fn parse(list: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for option in split(list) {
            options.set(&option)?;
        }
        Ok(options)
    }

    fn set(&mut self, option: &str) -> Result<(), OptionError> {
        match option.split_once('=') {
            // Options of /etc/fstab for other programs, such as x-systemd.automount.
            _ if option.starts_with("x-") || option.starts_with("X-") => Ok(()),
            Some((name, value)) => self.set_value(name, value),
            None => self.set_flag(option),
        }
    }

    fn set_flag(&mut self, option: &str) -> Result<(), OptionError> {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.audience = Audience::Everyone,
            "allow_root" => self.audience = Audience::OwnerAndRoot,
            "default_permissions" => self.default_permissions = true,
            "no_default_permissions" => self.default_permissions = false,
            "strict" => self.typing = self.typing.with_strict(),
            "infer" => self.typing = self.typing.with_infer(),
            "atime" => self.no_atime = false,
            "noatime" => self.no_atime = true,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "dev" => self.dev = true,
            "nodev" => self.dev = false,
            "exec" => self.exec = true,
            "noexec" => self.exec = false,
            "writeback" => self.writeback = true,
            "nonempty" => self.nonempty = true,
            // mount(8) acts upon these and hands them on.
            "" | "defaults" | "auto" | "noauto" | "user" | "nouser" | "users" | "owner"
            | "group" | "_netdev" | "nofail" | "async" | "relatime" => {}
            _ => return Err(missing_value(option)),
        }
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        match name {
            "uid" => self.entries.uid = Some(number(name, value)?),
            "gid" => self.entries.gid = Some(number(name, value)?),
            "umask" => self.entries.umask = mask(name, value)?,
            "fmask" => self.entries.fmask = Some(mask(name, value)?),
            "dmask" => self.entries.dmask = Some(mask(name, value)?),
            "fsname" => self.fsname = Some(text(name, value)?),
            "subtype" => self.subtype = text(name, value)?,
            "cache" => self.cache = Some(bytes(name, value)?),
            "threads" => self.threads = threads(name, value)?,
            _ => return Err(unwanted_value(name, value)),
        }
        Ok(())
    }
}

/// An option without a value that is no flag.
fn missing_value(option: &str) -> OptionError {
    match MountOptions::default().set_value(option, "") {
        Err(OptionError::Unknown { .. }) | Ok(()) => OptionError::Unknown {
            option: option.to_owned(),
        },
        Err(known) => known,
    }
}

/// An option with a value that takes none.
fn unwanted_value(name: &str, value: &str) -> OptionError {
    let is_flag = !value.is_empty() && MountOptions::default().set_flag(name).is_ok();
    if is_flag {
        OptionError::NoValue {
            name: name.to_owned(),
        }
    } else {
        OptionError::Unknown {
            option: name.to_owned(),
        }
    }
}

fn split(list: &str) -> Vec<String> {
    let mut options = vec![];
    let mut option = String::new();
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => option.extend(chars.next()),
            ',' => options.push(std::mem::take(&mut option)),
            c => option.push(c),
        }
    }
    options.push(option);
    options
}

fn bad_value(name: &str, value: &str, expected: &'static str) -> OptionError {
    OptionError::BadValue {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

fn number(name: &str, value: &str) -> Result<u32, OptionError> {
    value
        .parse()
        .map_err(|_| bad_value(name, value, "a number"))
}

fn mask(name: &str, value: &str) -> Result<u32, OptionError> {
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| bad_value(name, value, "an octal number up to 777"))
}

fn text(name: &str, value: &str) -> Result<String, OptionError> {
    if value.is_empty() || value.contains('\0') {
        return Err(bad_value(name, value, "a name"));
    }
    Ok(value.to_owned())
}

fn bytes(name: &str, value: &str) -> Result<u64, OptionError> {
    let (digits, shift) = match value.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 10),
        None => match value.strip_suffix(['M', 'm']) {
            Some(digits) => (digits, 20),
            None => match value.strip_suffix(['G', 'g']) {
                Some(digits) => (digits, 30),
                None => (value, 0),
            },
        },
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| bad_value(name, value, "a number of bytes, with K, M or G"))
}

fn threads(name: &str, value: &str) -> Result<NonZeroUsize, OptionError> {
    value
        .parse()
        .ok()
        .filter(|n: &NonZeroUsize| n.get() <= 64)
        .ok_or_else(|| bad_value(name, value, "a number from 1 to 64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_safe() {
        let options = MountOptions::parse("").unwrap();
        assert_eq!(options, MountOptions::default());
        assert!(options.default_permissions && !options.suid && !options.dev);
        assert_eq!(options.audience, Audience::Owner);
        assert_eq!(options.entries.file_mode(), 0o644);
        assert_eq!(options.entries.dir_mode(), 0o755);
    }

    #[test]
    fn what_fstab_holds_for_others_is_accepted() {
        let list = "defaults,auto,noauto,user,nouser,users,_netdev,nofail,x-systemd.automount,\
                    x-systemd.mount-timeout=5,rw";
        assert_eq!(MountOptions::parse(list).unwrap(), MountOptions::default());
    }

    #[test]
    fn of_two_contradicting_options_the_later_wins() {
        assert!(!MountOptions::parse("ro,rw").unwrap().read_only);
        assert!(MountOptions::parse("rw,ro").unwrap().read_only);
        assert!(MountOptions::parse("nosuid,suid").unwrap().suid);
    }

    #[test]
    fn masks_are_octal_and_the_special_ones_win() {
        let entries = MountOptions::parse("umask=077,dmask=027").unwrap().entries;
        assert_eq!((entries.file_mode(), entries.dir_mode()), (0o600, 0o750));
        assert!(MountOptions::parse("umask=8").is_err());
        assert!(MountOptions::parse("umask=7777").is_err());
    }

    #[test]
    fn strict_and_infer_go_together() {
        let typing = MountOptions::parse("infer,strict").unwrap().typing;
        assert!(typing.is_strict() && typing.infers());
    }

    #[test]
    fn sizes_take_suffixes() {
        let cache = |list| MountOptions::parse(list).unwrap().cache;
        assert_eq!(cache("cache=4096"), Some(4096));
        assert_eq!(cache("cache=64M"), Some(64 << 20));
        assert!(MountOptions::parse("cache=99999999999G").is_err());
    }

    #[test]
    fn commas_in_a_name_are_escaped() {
        let options = MountOptions::parse(r"fsname=/a\,b\\c,ro").unwrap();
        assert_eq!(options.fsname.as_deref(), Some(r"/a,b\c"));
        assert!(options.read_only);
    }

    #[test]
    fn an_unknown_option_is_named_with_the_known_ones() {
        let error = MountOptions::parse("ro,sync").unwrap_err().to_string();
        assert!(
            error.contains("\"sync\"") && error.contains("writeback"),
            "{error}"
        );
    }

    #[test]
    fn values_are_missing_or_too_much() {
        let error = |list| MountOptions::parse(list).unwrap_err().to_string();
        assert_eq!(error("uid"), "mount option uid=: a number is needed");
        assert_eq!(error("ro=1"), "mount option ro takes no value");
        assert!(error("colour=red").contains("unknown mount option \"colour\""));
    }
}
