//! Reading a list of options.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::{Audience, MountOptions};

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
    /// An option that means something only beside another one.
    #[error("mount option {name} goes with {with}; give that, too")]
    Alone {
        /// The option.
        name: &'static str,
        /// The other one.
        with: &'static str,
    },
    /// An option that contradicts another one.
    #[error("mount option {name} does not go with {with}; leave one of them out")]
    Against {
        /// The option.
        name: &'static str,
        /// The other one.
        with: &'static str,
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
    exec noexec fsname=NAME subtype=NAME writeback cache=BYTES key-file=FILE front=DIR around behind overlay front-size=BYTES populate without-front sweep=AGE snapshot=AGE \
    keep-last=N keep-hourly=N keep-daily=N keep-weekly=N keep-monthly=N keep-yearly=N nonempty threads=N \
    timeout=SECONDS, and those of \
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
        let front = options.front.is_some();
        let alone = [
            (options.around, front, "around", "front=DIR"),
            (options.behind, front, "behind", "front=DIR"),
            (options.overlay, front, "overlay", "front=DIR"),
            (options.populate, front, "populate", "front=DIR"),
            (
                options.front_size.is_some(),
                front,
                "front-size=BYTES",
                "front=DIR",
            ),
            (
                options.without_front,
                options.read_only,
                "without-front",
                "ro",
            ),
        ];
        for (given, has, name, with) in alone {
            if given && !has {
                return Err(OptionError::Alone { name, with });
            }
        }
        let copies = [
            (options.around, "around"),
            (options.behind, "behind"),
            (options.populate, "populate"),
            (options.front_size.is_some(), "front-size=BYTES"),
        ];
        for (given, with) in copies {
            if given && options.overlay {
                return Err(OptionError::Against {
                    name: "overlay",
                    with,
                });
            }
        }
        if options.snapshot.is_none() && !options.keep.is_empty() {
            return Err(OptionError::Alone {
                name: "keep-…",
                with: "snapshot=AGE",
            });
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
            "around" => self.around = true,
            "behind" => self.behind = true,
            "overlay" => self.overlay = true,
            "populate" => self.populate = true,
            "without-front" => self.without_front = true,
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
            "front" => self.front = Some(path(name, value)?),
            "key-file" | "key_file" => self.key_file = Some(path(name, value)?),
            "front-size" => self.front_size = Some(bytes(name, value)?),
            "cache" => self.cache = Some(bytes(name, value)?),
            "sweep" => self.sweep = Some(span(name, value)?),
            "snapshot" => self.snapshot = Some(span(name, value)?),
            "keep-last" => self.keep.last = number(name, value)?,
            "keep-hourly" => self.keep.hourly = number(name, value)?,
            "keep-daily" => self.keep.daily = number(name, value)?,
            "keep-weekly" => self.keep.weekly = number(name, value)?,
            "keep-monthly" => self.keep.monthly = number(name, value)?,
            "keep-yearly" => self.keep.yearly = number(name, value)?,
            "threads" => self.threads = threads(name, value)?,
            "timeout" => self.timeout = seconds(name, value)?,
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

fn path(name: &str, value: &str) -> Result<PathBuf, OptionError> {
    std::path::absolute(text(name, value)?).map_err(|_| unwanted_value(name, value))
}

fn text(name: &str, value: &str) -> Result<String, OptionError> {
    if value.is_empty() || value.contains('\0') {
        return Err(bad_value(name, value, "a name"));
    }
    Ok(value.to_owned())
}

/// A number of bytes, as `cache=` takes it.
///
/// # Errors
/// [`OptionError`].
pub fn byte_count(value: &str) -> Result<u64, OptionError> {
    bytes("rate", value)
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

fn seconds(name: &str, value: &str) -> Result<Duration, OptionError> {
    match value.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(bad_value(name, value, "a number of seconds from 1 to 3600")),
    }
}

/// Nothing at all would leave nothing in the store, or never end taking snapshots.
fn span(name: &str, value: &str) -> Result<Duration, OptionError> {
    age(value).filter(|age| !age.is_zero()).ok_or_else(|| {
        bad_value(
            name,
            value,
            "an age of a second or more, such as 90s, 15m, 36h, 30d or 8w",
        )
    })
}

/// A time, as `sweep=` and `snapshot=` take it; `None` if it is none.
#[must_use]
pub fn age(value: &str) -> Option<Duration> {
    let units = [
        ('s', 1),
        ('m', 60),
        ('h', 3600),
        ('d', 24 * 3600),
        ('w', 7 * 24 * 3600),
    ];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = value.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    seconds.map(Duration::from_secs)
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
    use crate::backend::tiered::Writes;
    use crate::snapshot::Retention;
    use crate::snapshot::automatic::Schedule;
    use crate::store::{Copied, Done};

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
        let sweep = |list| MountOptions::parse(list).map(|options| options.sweep);
        assert_eq!(
            sweep("sweep=2w").unwrap(),
            Some(Duration::from_secs(14 * 24 * 3600))
        );
        for bad in ["sweep=0s", "sweep=5", "sweep=-1d", "sweep=", "sweep=d"] {
            assert!(sweep(bad).is_err(), "{bad}");
        }
        let cache = |list| MountOptions::parse(list).unwrap().cache;
        assert_eq!(cache("cache=4096"), Some(4096));
        assert_eq!(cache("cache=64M"), Some(64 << 20));
        assert!(MountOptions::parse("cache=99999999999G").is_err());
    }

    #[test]
    fn what_is_kept_of_snapshots_needs_some_to_be_taken() {
        let schedule = |list| MountOptions::parse(list).map(|options| options.schedule());
        let keep = Retention {
            hourly: 24,
            daily: 7,
            ..Retention::default()
        };
        let every = Duration::from_secs(3600);
        let found = schedule("keep-hourly=24,snapshot=1h,keep-daily=7").unwrap();
        assert_eq!(found, Some(Schedule { every, keep }));
        assert_eq!(schedule("sweep=1h").unwrap(), None);
        let error = schedule("keep-daily=7").unwrap_err().to_string();
        assert!(error.contains("snapshot=AGE"), "{error}");
        for bad in ["snapshot=0s", "snapshot", "snapshot=1h,keep-daily=x"] {
            assert!(schedule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_says_more_of_a_front_needs_one() {
        let front = |list| MountOptions::parse(list).unwrap().front();
        assert_eq!(front(""), None);
        let found = front("front-size=2G,front=/a,behind,around,populate").unwrap();
        assert_eq!(found.size, Some(2 << 30));
        assert_eq!((found.writes, found.done), (Writes::Around, Done::InFront));
        assert_eq!(found.copies, Copied::All);
        for alone in [
            "around",
            "behind",
            "overlay",
            "populate",
            "front-size=1M",
            "without-front",
        ] {
            let error = MountOptions::parse(alone).unwrap_err();
            assert!(matches!(error, OptionError::Alone { .. }), "{error}");
        }
        let found = front("overlay,front=/a,ro").unwrap();
        assert_eq!(found.done, Done::OnlyInFront);
        for other in ["around", "behind", "populate", "front-size=1M"] {
            let error = MountOptions::parse(&format!("{other},front=/a,overlay")).unwrap_err();
            assert!(matches!(error, OptionError::Against { .. }), "{error}");
        }
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
