//! The one interface of a new network namespace.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::sys;

/// Sets `lo` up; the kernel gives it its addresses. See netdevice(7).
pub(super) fn set_loopback_up() -> Result<(), Errno> {
    // An AF_UNIX socket takes the same requests, on kernels without IPv4 too.
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    sys::set_loopback_up(socket.as_fd())
}
