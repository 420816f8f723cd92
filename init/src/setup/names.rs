//! The names of the new UTS namespace.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::sys;

/// sethostname(2).
pub(super) fn set_host_name(name: &OsStr) -> Result<(), Errno> {
    nix::unistd::sethostname(name)
}

/// setdomainname(2).
pub(super) fn set_domain_name(name: &OsStr) -> Result<(), Errno> {
    sys::set_domain_name(name.as_bytes())
}
