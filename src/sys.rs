//! The system calls that nix has no safe form of; the only `unsafe` in this crate. launch-init has the rest.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use launch_init::sys::{
    CStringArray, Capabilities, capabilities, close_range, keep_on_exec, raise_ambient, set_capabilities,
    set_signal_mask,
};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::executable;
use crate::plan::InitIds;

/// How much memory a program has before it asks for any, in bytes: twice what a plain start takes.
const EARLY: usize = 128 * 1024;

/// An allocator for programs that live for a moment, before another one, which serves whoever lives longer. Its memory is part
/// of the program, and only what was allocated last comes back: that takes a tenth of the time, and what is lost is bounded.
pub struct EarlyMemory<A>(A);

struct Memory(UnsafeCell<[MaybeUninit<u8>; EARLY]>);

// SAFETY: each byte is part of one allocation at most.
unsafe impl Sync for Memory {}

/// In the linker's script, behind all others: what is read before it is written costs two page faults, and this is written.
static MEMORY: Memory = Memory(UnsafeCell::new([MaybeUninit::uninit(); EARLY]));

/// Where its free part begins.
static FREE: AtomicUsize = AtomicUsize::new(0);

/// Where it begins in [`MEMORY`], if it was allocated there.
fn place_of(pointer: *mut u8) -> Option<usize> {
    let place = pointer.addr().wrapping_sub(MEMORY.0.get().addr());
    (place < EARLY).then_some(place)
}

/// Moves the end of the last allocation, which began at `start`; not if another one has come after it.
fn resize_last(start: usize, old_size: usize, new_size: usize) -> bool {
    // Who gets this memory next comes after who has had it.
    let end = start.checked_add(new_size).filter(|end| *end <= EARLY);
    let change =
        |end| FREE.compare_exchange(start + old_size, end, Ordering::Release, Ordering::Relaxed).is_ok();
    end.is_some_and(change)
}

impl<A> EarlyMemory<A> {
    /// `then` is asked when nothing is free.
    pub const fn before(then: A) -> Self {
        Self(then)
    }
}

// SAFETY: `alloc` returns memory of this size and alignment that was above `FREE` before and is below it afterwards, so that it
// is nobody else's until `FREE` is set back to its beginning, which only its owner's `dealloc` or `realloc` does. All else is
// the other allocator's.
unsafe impl<A: GlobalAlloc> GlobalAlloc for EarlyMemory<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = MEMORY.0.get().cast::<u8>();
        let mut free = FREE.load(Ordering::Relaxed);
        loop {
            let start = (memory.addr() + free).next_multiple_of(layout.align()) - memory.addr();
            let Some(end) = start.checked_add(layout.size()).filter(|end| *end <= EARLY) else {
                // SAFETY: the caller's promise is passed on.
                return unsafe { self.0.alloc(layout) };
            };
            match FREE.compare_exchange_weak(free, end, Ordering::Acquire, Ordering::Relaxed) {
                // SAFETY: `start` is at most `end`, and that is in the memory.
                Ok(_) => return unsafe { memory.add(start) },
                Err(now) => free = now,
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match place_of(pointer) {
            // What is not the last is lost.
            Some(start) => _ = resize_last(start, layout.size(), 0),
            // SAFETY: it is not of this memory, so that it is of the other's.
            None => unsafe { self.0.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(start) = place_of(pointer) else {
            // SAFETY: it is not of this memory, so that it is of the other's.
            return unsafe { self.0.realloc(pointer, layout, new_size) };
        };
        if resize_last(start, layout.size(), new_size) || new_size <= layout.size() {
            return pointer;
        }
        // SAFETY: the caller promises that the new size fits the alignment, and is not 0.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both have this size at least, and are not the same.
            unsafe { pointer.copy_to_nonoverlapping(moved, layout.size()) };
        }
        moved
    }
}

/// Whether descriptor `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// The effective user and group that this process was executed with. See getauxval(3), AT_EUID.
pub fn ids_at_exec() -> (u32, u32) {
    // SAFETY: reads two numbers of what the kernel has given to the program; it gives them to every one.
    unsafe { (libc::getauxval(libc::AT_EUID) as u32, libc::getauxval(libc::AT_EGID) as u32) }
}

/// The file that the cloned child executes.
#[derive(Debug)]
pub enum InitFile {
    /// That of this program, which the child executes until then too.
    Own,
    /// An open one.
    Open(RawFd),
    /// An open one, which the child finds again by this path to protect it; see [`executable::protected`].
    Protected(RawFd, CString),
}

/// What of the caller's the cloned child leaves; see credentials(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It stays.
    Nothing,
    /// Its process group, so that what is sent to that reaches init once: from the launcher.
    Group,
    /// Its session, and with it the terminal.
    Session,
}

/// What the cloned child does between clone and exec. All of it is made beforehand, and the child's own from the clone on:
/// it allocates nothing, since another thread of the parent may hold the allocator's lock.
#[derive(Debug)]
pub struct InitImage {
    /// The file to execute.
    pub file: InitFile,
    /// Its arguments.
    pub arguments: CStringArray,
    /// Its environment.
    pub environment: CStringArray,
    /// What becomes its stdin, stdout and stderr; none keeps the caller's. Each is above 2.
    pub stdio: [Option<RawFd>; 3],
    /// The channel, whose number its arguments name.
    pub channel: RawFd,
    /// The numbers above 2 that stay open until the exec, in ascending order: file, channel, stdio and those to keep.
    pub open: Vec<RawFd>,
    /// What of the caller's it leaves.
    pub leaves: Leaves,
    /// The descriptors above 2 that the workload gets.
    pub keep: Vec<RawFd>,
    /// The capabilities that survive the exec; empty keeps what the exec gives.
    pub ambient: Vec<u32>,
    /// The ids inside that it takes when the maps are written.
    pub ids: InitIds,
    /// A frame for the channel that says that this failed, but for its last four bytes, the errno.
    pub failure: Vec<u8>,
    /// The same for the ids.
    pub ids_failure: Vec<u8>,
}

/// A child that shares this process's memory until it is executed: no page table is copied for it, whatever the size of
/// this process.
#[derive(Debug)]
pub struct Cloned {
    /// Its pid.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// What it works with.
    pub memory: ChildsMemory,
}

/// The child's stack and image. Dropped, they stay: the child may still need them.
#[derive(Debug)]
pub struct ChildsMemory {
    /// Of a Box, which would be nobody else's to write to.
    image: NonNull<InitImage>,
    stack: ManuallyDrop<Vec<u8>>,
}

// SAFETY: nothing of it is read or written here until its only owner frees it, and what it is made of may go to any thread.
unsafe impl Send for ChildsMemory {}
// SAFETY: whoever shares it can do nothing with it.
unsafe impl Sync for ChildsMemory {}

impl ChildsMemory {
    /// Frees them, of a child that has ended. The caller has seen that: it has reaped it, or somebody else has.
    pub fn free(mut self) {
        // SAFETY: `self` is consumed, so that nobody uses them again here, and the child has ended; the image was
        // a Box.
        unsafe {
            drop(Box::from_raw(self.image.as_ptr()));
            ManuallyDrop::drop(&mut self.stack);
        }
    }
}

/// More than twice what the child takes of it in a build that is not optimised: below it is the heap, and no guard. A test
/// measures that. What of it is never touched takes no memory.
const CHILDS_STACK: usize = 32 * 1024;
/// As every ABI wants it at most.
const STACK_ALIGNMENT: usize = 16;

/// Clones a child into new namespaces (`flags` as for clone(2)), which becomes `image`.
///
/// It does not wait until the child is executed, as vfork(2) would: the child waits itself, for its maps.
///
/// Every signal must be blocked: the child inherits the mask and hands it to init, which loses none so.
///
/// # Errors
/// As clone(2).
pub fn clone_init(flags: u64, image: InitImage) -> Result<Cloned, Errno> {
    let flags = c_int::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // Whoever changes ids is closed to others, and everybody whose memory it shares with it: commit_creds in kernel/cred.c.
    let shared = if image.ids == InitIds::default() { libc::CLONE_VM } else { 0 };
    clone_by(flags | shared, image)
}

/// The same with these flags alone; CLONE_VM is one.
fn clone_by(flags: c_int, image: InitImage) -> Result<Cloned, Errno> {
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut stack: Vec<u8> = Vec::with_capacity(CHILDS_STACK);
    #[cfg(test)]
    stack.spare_capacity_mut().fill(MaybeUninit::new(tests::UNTOUCHED));
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let image = NonNull::from(Box::leak(Box::new(image)));
    let mut pidfd: RawFd = -1;
    // SAFETY: the stack grows down from its aligned end, and it and the image live until `ChildsMemory` is freed, which is
    // after the child's end; from here on only the child uses them. It shares all other memory, too, of which it changes
    // nothing: it calls what is async-signal-safe and allocates nothing. Where a call of its fails, it changes the errno of
    // this thread, or of whoever has its place by then, but then the launch fails. No signal handler runs in it, since every
    // signal is blocked.
    let pid = unsafe {
        let top = top.sub(top.addr() % STACK_ALIGNMENT);
        libc::clone(start_child, top.cast(), flags, image.as_ptr().cast(), &raw mut pidfd)
    };
    let memory = ChildsMemory { image, stack: ManuallyDrop::new(stack) };
    match Errno::result(pid) {
        // The kernel knows no CLONE_PIDFD, and nothing of what follows.
        Ok(pid) if pidfd < 0 => {
            let _ = launch_init::sys::kill(pid, libc::SIGKILL);
            let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
            memory.free();
            Err(Errno::ENOSYS)
        }
        Ok(pid) => {
            // SAFETY: CLONE_PIDFD made this descriptor, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned { pid: Pid::from_raw(pid), pidfd, memory })
        }
        Err(errno) => {
            // There is no child.
            memory.free();
            Err(errno)
        }
    }
}

extern "C" fn start_child(image: *mut c_void) -> c_int {
    // SAFETY: `clone_init` hands over an image that only the child uses from then on.
    become_init(unsafe { &mut *image.cast::<InitImage>() })
}

/// The child's side. Makes async-signal-safe calls only and allocates nothing.
fn become_init(image: &mut InitImage) -> ! {
    let prepared = leave(image.leaves)
        .and_then(|()| prepare_descriptors(image))
        .and_then(|()| keep_capabilities(&image.ambient))
        .and_then(|()| protected(&image.file))
        .and_then(|protected| wait_for_plan(image.channel).map(|()| protected));
    let failed = match prepared {
        Ok(protected) => match take_ids(image.ids) {
            Ok(()) => (execute(image, protected.as_ref()), &mut image.failure),
            Err(errno) => (errno, &mut image.ids_failure),
        },
        Err(errno) => (errno, &mut image.failure),
    };
    let (errno, frame) = failed;
    if let Some(end) = frame.last_chunk_mut() {
        *end = (errno as i32).to_ne_bytes();
    }
    // SAFETY: sends bytes of a live slice, by the call's number as below; _exit ends this process without running what the
    // parent has registered for its own end.
    unsafe {
        let (to, size) = (std::ptr::null::<libc::sockaddr>(), 0);
        libc::syscall(
            libc::SYS_sendto,
            image.channel,
            frame.as_ptr(),
            frame.len(),
            libc::MSG_NOSIGNAL,
            to,
            size,
        );
        libc::_exit(launch_init::exit::FAILED.into())
    }
}

fn protected(file: &InitFile) -> Result<Option<OwnedFd>, Errno> {
    let InitFile::Protected(file, path) = file else { return Ok(None) };
    // SAFETY: the child's own copy of the descriptor is open until its exec.
    executable::protected(path, unsafe { BorrowedFd::borrow_raw(*file) }).map(Some)
}

/// Executes the file, or what protects it; returns only when that failed.
fn execute(image: &InitImage, protected: Option<&OwnedFd>) -> Errno {
    let (file, path, flags) = match (&image.file, protected) {
        (_, Some(file)) => (file.as_raw_fd(), c"", libc::AT_EMPTY_PATH),
        (InitFile::Own, None) => (libc::AT_FDCWD, executable::OWN, 0),
        (InitFile::Open(file) | InitFile::Protected(file, _), None) => (*file, c"", libc::AT_EMPTY_PATH),
    };
    let (arguments, environment) = (image.arguments.as_ptr(), image.environment.as_ptr());
    // By its number, since musl has no function of this name. SAFETY: a C string and two null-terminated arrays of such that
    // the image keeps alive; a descriptor is open.
    unsafe { libc::syscall(libc::SYS_execveat, file, path.as_ptr(), arguments, environment, flags) };
    Errno::last()
}

fn leave(what: Leaves) -> Result<(), Errno> {
    // SAFETY: both change the group, or the session, of the child alone.
    let result = unsafe {
        match what {
            Leaves::Nothing => 0,
            Leaves::Group => libc::setpgid(0, 0),
            Leaves::Session => libc::setsid(),
        }
    };
    Errno::result(result).map(drop)
}

/// Only stdio, the channel and the kept descriptors survive the exec.
fn prepare_descriptors(image: &InitImage) -> Result<(), Errno> {
    close_all_but(&image.open)?;
    for (target, source) in (0..).zip(image.stdio) {
        if let Some(source) = source {
            // SAFETY: replaces the child's own copy of a standard descriptor.
            Errno::result(unsafe { libc::dup2(source, target) })?;
        }
    }
    keep_on_exec(image.channel)?;
    image.keep.iter().try_for_each(|fd| keep_on_exec(*fd))
}

/// While the child waits for its plan, nothing may be open for its sake: not the launcher's end of the channel, by whose
/// end of file it knows that the launcher is gone, nor anything else of a program that uses this as a library.
pub fn close_all_but(open: &[RawFd]) -> Result<(), Errno> {
    let mut first = 3;
    for fd in open {
        if *fd > first {
            close_range(first as u32, *fd as u32 - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first as u32, u32::MAX)
}

/// The plan comes when the id maps are written. Executed before, init would have no more than its ambient
/// capabilities; a workload that is root would gain some by its exec, for which the kernel takes its dumpable flag
/// away (commit_creds in kernel/cred.c), and with it /proc/PID from its own user.
fn wait_for_plan(channel: RawFd) -> Result<(), Errno> {
    let mut polled = libc::pollfd { fd: channel, events: libc::POLLIN, revents: 0 };
    let for_ever = std::ptr::null::<libc::timespec>();
    loop {
        // By its number: the C library's function writes to the thread's state, and the thread that cloned may be no more.
        // SAFETY: one live pollfd; for null the kernel knows no end, and leaves the signal mask as it is.
        let result = unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                &raw mut polled,
                1,
                for_ever,
                std::ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            // Every signal is blocked, but a debugger interrupts too.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The groups first, while there is still the right to. Without the C library's functions of these names: they would have
/// the parent's other threads, which the child has not got, do the same (nptl(7)).
fn take_ids(ids: InitIds) -> Result<(), Errno> {
    if ids.leaves_groups {
        // SAFETY: no groups are read where there are none.
        Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) })?;
    }
    if let Some(gid) = ids.group {
        // SAFETY: takes three numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    }
    if let Some(uid) = ids.user {
        // SAFETY: takes three numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    }
    Ok(())
}

/// Has the process that `command` starts get this signal mask instead of the launcher's, in which all is blocked.
pub fn start_with_mask(command: &mut Command, mask: u64) {
    let set_mask = move || set_signal_mask(mask).map(drop).map_err(std::io::Error::from);
    // SAFETY: one system call on a number that the closure owns, which is async-signal-safe and allocates nothing.
    unsafe { command.pre_exec(set_mask) };
}

/// Whether an executable has capabilities of its own; see capabilities(7), "File capabilities".
pub fn has_file_capabilities(path: &CStr) -> bool {
    // SAFETY: two C strings; a null buffer of no size only asks for the size.
    let size =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}

/// An exec takes the capabilities of everybody who is not root inside; the ambient ones stay. See capabilities(7).
fn keep_capabilities(ambient: &[u32]) -> Result<(), Errno> {
    if ambient.is_empty() {
        return Ok(());
    }
    let wanted = ambient.iter().fold(0, |set, capability| set | 1_u64 << capability);
    let sets = capabilities()?;
    let available = wanted & sets.permitted;
    set_capabilities(Capabilities { inheritable: available, ..sets })?;
    ambient
        .iter()
        .filter(|capability| available & 1 << **capability != 0)
        .try_for_each(|capability| raise_ambient(*capability))
}

/// Waits for the end of the child behind `pidfd` and reaps it; returns its raw wait status, as waitpid(2) does. See
/// waitid(2), P_PIDFD: unlike its number, it can never be another child's.
///
/// # Errors
/// ECHILD: somebody else has reaped it, or SIGCHLD is ignored, so that nobody can; it has ended all the same.
pub fn wait_for(pidfd: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: siginfo_t is a plain C struct that zero is a value of.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let fd = pidfd.as_raw_fd() as libc::id_t;
    loop {
        // SAFETY: the pointer is to a live siginfo_t.
        let result = unsafe { libc::waitid(libc::P_PIDFD, fd, &raw mut info, libc::WEXITED | libc::__WALL) };
        match Errno::result(result) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: for a child's end the kernel fills in the status.
    let status = unsafe { info.si_status() };
    Ok(match info.si_code {
        libc::CLD_EXITED => status << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    })
}

/// Opens a file only to name it: it is not read. See open(2), O_PATH.
///
/// # Errors
/// As open(2).
pub fn open_path(path: &CStr) -> Result<OwnedFd, Errno> {
    // musl's open(2) sets close-on-exec by a second call.
    nix::fcntl::openat(
        nix::fcntl::AT_FDCWD,
        path,
        nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
}

/// The soft and the hard limit of this process for a resource, by its number; `u64::MAX` is none. See prlimit(2).
///
/// # Errors
/// EINVAL: there is no such resource.
pub fn limit(resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null::<libc::rlimit64>();
    // SAFETY: pid 0 is this process; for null the kernel sets nothing, and it writes one live rlimit64.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, none, &raw mut limit) };
    Errno::result(result).map(|_| (limit.rlim_cur, limit.rlim_max))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixStream;

    use launch_init::signals;
    use nix::unistd::{getegid, geteuid};

    use super::*;

    /// What the child's stack is full of before there is a child.
    pub(super) const UNTOUCHED: u8 = 0xa5;

    /// How many bytes of its stack a child takes until it is executed, or has ended because it could not be; and how the process
    /// ended. It always shares memory, so that its stack can be looked at.
    fn stack_and_status(flags: c_int, image: InitImage, mut ours: UnixStream) -> (usize, i32) {
        let mask = signals::block_all().expect("block");
        let cloned = clone_by(flags | libc::CLONE_VM, image);
        signals::set_mask(mask).expect("unblock");
        let Cloned { pidfd, mut memory, .. } = cloned.expect("clone");
        ours.write_all(b"the plan").expect("write");
        let status = wait_for(pidfd.as_fd()).expect("wait");
        let stack = memory.stack.spare_capacity_mut();
        // SAFETY: each byte was written before there was a child, and the child has ended.
        let is_touched = |byte: &MaybeUninit<u8>| unsafe { byte.assume_init_read() } != UNTOUCHED;
        let touched = stack.len() - stack.iter().position(is_touched).expect("it was executed on it");
        memory.free();
        (touched, status)
    }

    #[test]
    fn the_child_never_takes_more_than_half_of_its_stack() {
        let path = fs::canonicalize("/bin/true").expect("/bin/true");
        let program = File::open(&path).expect("open");
        let null = File::options().read(true).write(true).open("/dev/null").expect("open");
        let path = CString::new(path.as_os_str().as_bytes()).expect("path");
        let (program, null) = (program.as_raw_fd(), null.as_raw_fd());
        let everything = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        let ids = InitIds {
            user: Some(geteuid().as_raw()),
            group: Some(getegid().as_raw()),
            leaves_groups: geteuid().is_root(),
        };
        let failed = i32::from(launch_init::exit::FAILED) << 8;
        for (file, flags, ambient, ids, expected) in [
            (InitFile::Own, 0, vec![], InitIds::default(), 0),
            (InitFile::Open(program), 0, vec![], ids, 0),
            (InitFile::Protected(program, path), everything, vec![0, 1, 2, 3], InitIds::default(), 0),
            (InitFile::Open(null), everything, vec![0, 1, 2, 3], InitIds::default(), failed),
            (InitFile::Protected(program, c"/bin/sh".into()), everything, vec![], InitIds::default(), failed),
        ] {
            let what = format!("{file:?}, {ids:?}");
            let (ours, theirs) = UnixStream::pair().expect("pair");
            let mut open = vec![program, null, theirs.as_raw_fd()];
            open.sort_unstable();
            let image = InitImage {
                file,
                // Where this program is executed, it says which tests it has.
                arguments: CStringArray::new([c"launch-init", c"--list"].map(CString::from).into()),
                environment: CStringArray::new(Vec::new()),
                stdio: [Some(null); 3],
                channel: theirs.as_raw_fd(),
                open,
                leaves: Leaves::Group,
                keep: vec![null],
                ambient,
                ids,
                failure: vec![0; 64],
                ids_failure: vec![0; 64],
            };
            let (touched, status) = stack_and_status(flags, image, ours);
            assert_eq!(status, expected, "{what}");
            assert!(touched <= CHILDS_STACK / 2, "{what}: {touched} of {CHILDS_STACK} bytes");
        }
    }
}
