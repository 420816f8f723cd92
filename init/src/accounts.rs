//! Looks the workload's user up in the /etc/passwd and /etc/group of the root that it will have.
//!
//! That tree may be a hostile one: only a regular file of a bounded size is read, and nothing waits for it. Which uid it
//! gives to a name is its own to say; a number needs no file. How the files are read is parse.rs's to know.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use crate::handoff::{Account, Name};
use crate::parse::{self, User};

/// No file of users is larger.
const LARGEST: u64 = 1 << 20;

/// The numbers of an account. A file is looked at only if it is needed; one that does not exist has no names.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn resolve(account: &Account) -> Result<User, String> {
    let is_name = |name: &Name| matches!(name, Name::Named(_));
    let needs_passwd = is_name(&account.user) || account.group.is_none();
    let needs_group = account.group.iter().chain(&account.groups).any(is_name);
    let passwd = if needs_passwd { read("/etc/passwd")? } else { String::new() };
    let group = if needs_group { read("/etc/group")? } else { String::new() };
    parse::resolve(account, &passwd, &group)
}

fn read(path: &str) -> Result<String, String> {
    let failed = |errno: Errno| format!("{path}: {}", errno.desc());
    // Named first and opened after: to open a device can be to use it.
    let named = match open(path, OFlag::O_PATH) {
        // A root of one program needs neither file.
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        named => named.and_then(|file| fstat(&file)).map_err(failed)?,
    };
    let odd = || Err(format!("{path} is not a regular file"));
    if !is_regular(&named) {
        return odd();
    }
    // Should something else have taken its place meanwhile, it is not waited for.
    let file = open(path, OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map_err(failed)?;
    if !is_regular(&fstat(&file).map_err(failed)?) {
        return odd();
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| format!("{path}: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{path} is larger than 1 MiB"));
    }
    // A name that is no UTF-8 is none that could be asked for.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(path: &str, flags: OFlag) -> Result<File, Errno> {
    openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
}

fn is_regular(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}
