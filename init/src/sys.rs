//! The system calls that nix has no safe form of; the only `unsafe` in this crate. `launch` uses them too, which is why
//! they are public; they are not for anybody else: some rely on what init and launcher know of their own descriptors.
//!
//! Signal sets are the kernel's own 64 bits, not libc's `sigset_t`: libc hides its two or three internal
//! real-time signals, and a PID 1 has to see and forward those too.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_long, c_uint, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Pid};

use crate::parse::variable_of;

/// Size of the kernel's signal set in bytes; rt_sigprocmask(2) and signalfd4(2) demand exactly this.
const KERNEL_SIGSET: usize = size_of::<u64>();

/// Sets the calling thread's signal mask and returns the old one. Bit n-1 stands for signal n.
///
/// See rt_sigprocmask(2). SIGKILL and SIGSTOP are left out by the kernel.
pub fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut old = 0_u64;
    // SAFETY: both pointers are to live u64s, and KERNEL_SIGSET is their size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            KERNEL_SIGSET,
        )
    };
    Errno::result(result).map(|_| old)
}

/// The signals that are pending for this thread or process; bits as in [`set_signal_mask`]. See rt_sigpending(2).
///
/// # Errors
/// None that the kernel documents for these arguments.
pub fn pending_signals() -> Result<u64, Errno> {
    let mut pending = 0_u64;
    // SAFETY: the pointer is to a live u64, and KERNEL_SIGSET is its size.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, KERNEL_SIGSET) };
    Errno::result(result).map(|_| pending)
}

/// A descriptor from which the pending signals of `mask` are read; non-blocking, close-on-exec. See signalfd(2).
pub fn signal_descriptor(mask: u64) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the pointer is to a live u64 and KERNEL_SIGSET is its size.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, KERNEL_SIGSET, flags) };
    // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
    Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Reads as many pending signals as `buffer` holds; returns how many came. EAGAIN: there are none.
pub fn read_signals(fd: BorrowedFd<'_>, buffer: &mut [libc::signalfd_siginfo]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes whole signalfd_siginfo records, at most size_of_val(buffer) bytes of them, and
    // any bytes are a valid signalfd_siginfo (integers only).
    let read =
        unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast::<c_void>(), size_of_val(buffer)) };
    Errno::result(read).map(|bytes| bytes as usize / size_of::<libc::signalfd_siginfo>())
}

/// An all-zero record for [`read_signals`] to fill.
pub fn empty_siginfo() -> libc::signalfd_siginfo {
    // SAFETY: signalfd_siginfo consists of integers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Whether `signal` is ignored in this process.
pub fn is_ignored(signal: c_int) -> bool {
    // SAFETY: sigaction is a plain C struct that zero is a value of; a null new action only asks for the old one.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action);
        action
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Sets `signal` to be ignored, or to its default; returns whether it was ignored. See sigaction(2).
pub fn set_ignored(signal: c_int, ignored: bool) -> Result<bool, Errno> {
    let handler = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither SIG_IGN nor SIG_DFL runs code of ours.
    let old = unsafe { libc::signal(signal, handler) };
    if old == libc::SIG_ERR { Err(Errno::last()) } else { Ok(old == libc::SIG_IGN) }
}

/// What SIGPIPE was when the program was executed: Rust's runtime sets it to ignored before `main`, which would
/// otherwise be handed down to every workload.
static SIGPIPE_CAME_IGNORED: AtomicBool = AtomicBool::new(false);

/// Which of the descriptors 0, 1 and 2 were closed when the program was executed: the runtime opens /dev/null there.
static CAME_CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// Whether this program starts without Rust's runtime, by [`entry`].
static HAS_NO_RUNTIME: AtomicBool = AtomicBool::new(false);

/// For `entry`. Runs before `note_before_the_runtime`.
pub extern "C" fn there_is_no_runtime() {
    HAS_NO_RUNTIME.store(true, Ordering::Relaxed);
}

extern "C" fn note_before_the_runtime() {
    // Without one there is time until `main`, which knows whether it is to be noted at all.
    if !HAS_NO_RUNTIME.load(Ordering::Relaxed) {
        note_what_came();
    }
}

fn note_what_came() {
    // As the runtime does it a moment later, where there is one.
    // SAFETY: SIG_IGN runs no code of ours.
    let came = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    SIGPIPE_CAME_IGNORED.store(came == libc::SIG_IGN, Ordering::Relaxed);
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three live records; it does not wait. Whether a descriptor is open it says in `revents`.
    unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) };
    for (polled, closed) in standard.iter().zip(&CAME_CLOSED) {
        closed.store(polled.revents & libc::POLLNVAL != 0, Ordering::Relaxed);
    }
}

// SAFETY: the loader calls each function in .init_array once, before main and its runtime; this one calls
// signal and poll and stores to atomics, which need no runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_WHAT_CAME: extern "C" fn() = note_before_the_runtime;

/// Defines the `main` of a program that starts without Rust's runtime: `$main` takes the arguments, the program's name first,
/// and returns the exit code.
///
/// The runtime's start is a dozen system calls, two mappings and as many page faults, in a program that is executed twice for
/// a launch. What of it is of use is done here: an open stdin, stdout and stderr, SIGPIPE ignored, and at the end stdout flushed.
/// What is missed is its word about a stack overflow, which is a SIGSEGV without one. The environment of the program must not be
/// changed ([`environment`]).
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // The linker puts those with a number before those without one.
        // SAFETY: it stores to an atomic, which needs no runtime.
        #[used]
        #[unsafe(link_section = ".init_array.00101")]
        static THERE_IS_NO_RUNTIME: extern "C" fn() = $crate::sys::there_is_no_runtime;

        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: core::ffi::c_int,
            arguments: *const *const core::ffi::c_char,
            environment: *const *const core::ffi::c_char,
        ) -> core::ffi::c_int {
            // SAFETY: the C library calls main once, with so many C strings that live as long as the program.
            let arguments = unsafe { $crate::sys::arguments(count, arguments) };
            // SAFETY: and with these, a null pointer behind them. No program of ours changes its environment.
            unsafe { $crate::sys::note_environment(environment) };
            $crate::sys::take_the_runtimes_place(&arguments);
            std::process::exit($main(arguments).into())
        }
    };
}

/// Has a program with musl ask for the time by the system call itself. Where that is done twice, as in each of the two programs of a
/// start, it takes less than the three page faults of the vDSO's first use (vdso(7)); where it is done for each signal, as by
/// `launch-init` in an image, it takes more.
#[macro_export]
macro_rules! time_without_vdso {
    () => {
        // In place of musl's, which is weak.
        #[cfg(target_env = "musl")]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn clock_gettime(
            clock: core::ffi::c_int,
            time: *mut core::ffi::c_void,
        ) -> core::ffi::c_int {
            // SAFETY: the caller's.
            unsafe { $crate::sys::clock_gettime(clock, time.cast()) }
        }
    };
}

/// For `time_without_vdso`.
///
/// # Safety
/// `time` must point to a timespec, or be null; see clock_gettime(2).
pub unsafe fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

/// The arguments that the C library hands to `main`.
///
/// # Safety
/// `arguments` must point to `count` C strings.
pub unsafe fn arguments(count: c_int, arguments: *const *const c_char) -> Vec<OsString> {
    (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: the caller's.
        .map(|i| os_string(unsafe { CStr::from_ptr(*arguments.add(i)) }))
        .collect()
}

/// The environment that `main` got.
static ENVIRONMENT: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());

/// For `entry`.
///
/// # Safety
/// `variables` must point to C strings and a null pointer behind them, none of which is ever changed.
pub unsafe fn note_environment(variables: *const *const c_char) {
    ENVIRONMENT.store(variables.cast_mut(), Ordering::Relaxed);
}

/// The environment as it is, NAME=VALUE each; see environ(7). In a program that begins by [`entry`] it is read where it lies, and
/// not taken apart and put together again.
pub fn environment() -> Vec<OsString> {
    let noted = ENVIRONMENT.load(Ordering::Relaxed).cast_const();
    if noted.is_null() {
        return std::env::vars_os().map(|(name, value)| variable_of(&name, &value)).collect();
    }
    // SAFETY: as `note_environment` was told; the null pointer is the last that is looked at.
    let count = (0..).take_while(|i| unsafe { !(*noted.add(*i)).is_null() }).count();
    // SAFETY: so many of them are C strings.
    (0..count).map(|i| os_string(unsafe { CStr::from_ptr(*noted.add(i)) })).collect()
}

fn os_string(string: &CStr) -> OsString {
    OsStr::from_bytes(string.to_bytes()).to_owned()
}

/// For `entry`, with the program's arguments. Where this cannot be done, nothing that opens a descriptor can be relied on: the
/// program ends.
pub fn take_the_runtimes_place(arguments: &[OsString]) {
    if crate::is_under_launch(arguments) {
        // Nobody asks what it came with: the plan says what the workload gets, and with every signal blocked SIGPIPE ends
        // nobody. What is closed of the three the first `open_null` finds, before anything else is opened.
        return;
    }
    note_what_came();
    for fd in 0..3 {
        // A closed one's number is the lowest that is free, as long as this is done in their order.
        // SAFETY: a C string.
        if came_closed(fd) && unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } != fd {
            std::process::abort();
        }
    }
}

/// Whether this is one of the descriptors 0, 1 and 2, and was closed when this program was executed.
pub fn came_closed(fd: RawFd) -> bool {
    let closed = usize::try_from(fd).ok().and_then(|fd| CAME_CLOSED.get(fd));
    closed.is_some_and(|closed| closed.load(Ordering::Relaxed))
}

/// stdin, stdout or stderr, by its number; std's own would allocate buffers too.
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    assert!((libc::STDIN_FILENO..=libc::STDERR_FILENO).contains(&number), "{number} is none of the three");
    // SAFETY: as with Stdin::as_fd of std: the three are nobody's to close, and stay open for as long as the program runs.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Whether SIGPIPE was ignored when this program was executed.
pub fn sigpipe_came_ignored() -> bool {
    SIGPIPE_CAME_IGNORED.load(Ordering::Relaxed)
}

/// Gives the controlling terminal up, if it is stdin. See ioctl_tty(2), TIOCNOTTY.
///
/// # Errors
/// ENOTTY: stdin is not the controlling terminal.
pub fn give_up_terminal() -> Result<(), Errno> {
    // SAFETY: TIOCNOTTY takes no argument.
    Errno::result(unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCNOTTY) }).map(drop)
}

/// Makes stdin the controlling terminal of this session. See ioctl_tty(2), TIOCSCTTY.
///
/// # Errors
/// ENOTTY: stdin is no terminal. EPERM: it is another session's.
pub fn take_terminal() -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number: 0, not to take it from another session.
    Errno::result(unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Whether this process adopts orphans. See prctl(2), PR_GET_CHILD_SUBREAPER.
pub fn is_subreaper() -> bool {
    let mut is: c_int = 0;
    // SAFETY: the pointer is to a live c_int.
    let result = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is) };
    result == 0 && is != 0
}

/// Takes ownership of a descriptor that the process that executed this program left for it.
///
/// # Errors
/// EBADF when it isn't open, or is one of the three standard ones.
pub fn adopt_descriptor(fd: RawFd) -> Result<OwnedFd, Errno> {
    if fd <= libc::STDERR_FILENO {
        return Err(Errno::EBADF);
    }
    // SAFETY: F_GETFD only asks.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, and it was named on our command line for us to own; nothing else in this program
    // uses a descriptor that it did not open itself.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes ownership of a socket that the process that executed this program left for it, as soon as something has come through
/// it: that goes to the end of `buffer`, as far as there is room. Nothing: end of file. See recv(2).
///
/// # Errors
/// EBADF, ENOTSOCK: it is no open socket, or one of the three standard ones. ECONNRESET.
pub fn adopt_socket(fd: RawFd, buffer: &mut Vec<u8>) -> Result<OwnedFd, Errno> {
    if fd <= libc::STDERR_FILENO {
        return Err(Errno::EBADF);
    }
    let room = buffer.spare_capacity_mut();
    let received = loop {
        // SAFETY: the kernel writes at most so many bytes, into room that is `buffer`'s.
        match Errno::result(unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), 0) }) {
            // Every signal is blocked, but a debugger interrupts too.
            Err(Errno::EINTR) => {}
            received => break received? as usize,
        }
    };
    // SAFETY: the kernel has written them.
    unsafe { buffer.set_len(buffer.len() + received) };
    // SAFETY: it is open, and it was named on our command line for us to own; nothing else in this program
    // uses a descriptor that it did not open itself.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The real user and group that this program was executed as, which the kernel leaves with its arguments. See getauxval(3),
/// AT_UID.
pub fn executed_by() -> (u32, u32) {
    // SAFETY: looks a number up in what the kernel left; every kernel leaves these.
    unsafe { (libc::getauxval(libc::AT_UID) as u32, libc::getauxval(libc::AT_GID) as u32) }
}

/// Whether its effective user was root. See getauxval(3), AT_EUID.
pub fn was_executed_as_root() -> bool {
    // SAFETY: as above.
    unsafe { libc::getauxval(libc::AT_EUID) == 0 }
}

static FORKED: AtomicU32 = AtomicU32::new(0);

/// How many children this process has made by [`fork`] and [`fork_sharing_memory`].
pub fn forked() -> u32 {
    FORKED.load(Ordering::Relaxed)
}

/// fork(2), from a process with one thread.
pub fn fork() -> Result<ForkResult, Errno> {
    // SAFETY: PID 1 has one thread, so the child finds no lock held by a thread that it doesn't have.
    let forked = unsafe { nix::unistd::fork() }?;
    if forked.is_parent() {
        FORKED.fetch_add(1, Ordering::Relaxed);
    }
    Ok(forked)
}

/// Runs `child` in a new process that shares this one's memory; returns its pid and pidfd when it has been executed or has
/// ended. Until then this process stands still: not even a signal is seen. What the child changes in memory, this process
/// finds changed. See vfork(2).
///
/// The child ends with the code that `child` returns, without anything that is registered for the end of this process.
///
/// # Errors
/// As clone(2).
pub fn fork_sharing_memory<F: FnOnce() -> u8>(child: F) -> Result<(Pid, OwnedFd), Errno> {
    extern "C" fn start<F: FnOnce() -> u8>(child: *mut c_void) -> c_int {
        // SAFETY: the parent stands still on the Option that this points to.
        let child = unsafe { &mut *child.cast::<Option<F>>() }.take();
        exit_now(child.map_or(0, |child| child()))
    }
    let mut child = Some(child);
    // SAFETY: `start` takes a pointer to such an Option, and does not return.
    unsafe { clone_on_this_stack(start::<F>, (&raw mut child).cast()) }
}

/// More than what is on the stack of [`clone_on_this_stack`] and below while the parent stands still there.
const FRAMES: usize = 4096;
/// As every ABI wants a stack at most.
const STACK_ALIGNMENT: usize = 16;

/// The child goes on where the parent's stack ends, as vfork(2) has it: that needs no memory of its own, is mostly in use
/// before, and ends at a page that nobody may touch.
///
/// Not inlined: its own frame, by which it knows where it is, has to be a small one.
///
/// # Safety
/// `start` may be called with `argument` in a process that shares this one's memory, and does not return.
#[inline(never)]
unsafe fn clone_on_this_stack(
    start: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> Result<(Pid, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let here = &raw mut pidfd;
    let top = here.cast::<u8>().wrapping_sub(FRAMES + here.addr() % STACK_ALIGNMENT);
    // SAFETY: this process has one thread, which CLONE_VFORK stops until the child uses its memory no more, so that there are
    // never two who use it. Of the stack it uses until then what is at `here` and, for the call, far less than FRAMES below; no
    // signal handler runs, since every signal is blocked. From `top` downwards it is free, and the kernel extends it.
    let pid = Errno::result(unsafe { libc::clone(start, top.cast(), flags, argument, here) })?;
    FORKED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: CLONE_PIDFD made this descriptor, and nobody else knows of it.
    Ok((Pid::from_raw(pid), unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Ends this process without anything that is registered for its end, which may be another's; see _exit(2).
pub fn exit_now(code: u8) -> ! {
    // SAFETY: nothing of this process is used any more.
    unsafe { libc::_exit(code.into()) }
}

/// As many processors as a set has room for; the kernel's own is as large at the most (CONFIG_NR_CPUS).
const MOST_PROCESSORS: usize = 8192;

/// The processors that the calling thread may run on, a bit each. See sched_getaffinity(2).
///
/// # Errors
/// None that the kernel documents for a set of this size.
pub fn processors() -> Result<Vec<u8>, Errno> {
    let mut set = [0_u8; MOST_PROCESSORS / 8];
    // SAFETY: the kernel writes that many bytes at the most; 0 is this thread.
    let length = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, set.len(), set.as_mut_ptr()) };
    Errno::result(length).map(|length| set[..usize::try_from(length).unwrap_or(0)].to_vec())
}

/// Has the calling thread stay on the processor that it is on. See sched_setaffinity(2).
///
/// # Errors
/// EBUSY, EPERM: its scheduling policy does not allow it.
pub fn stay_on_this_processor() -> Result<(), Errno> {
    let mut here: c_uint = 0;
    let nothing = std::ptr::null_mut::<c_void>();
    // By the call, since the first use of the vDSO costs a page fault and a search. SAFETY: the kernel writes one live integer, and
    // nothing for null.
    Errno::result(unsafe { libc::syscall(libc::SYS_getcpu, &raw mut here, nothing, nothing) })?;
    let here = here as usize;
    let mut set = [0_u8; MOST_PROCESSORS / 8];
    *set.get_mut(here / 8).ok_or(Errno::EINVAL)? |= 1 << (here % 8);
    use_processors(&set)
}

/// Lets the calling thread run wherever its cpuset lets it.
///
/// # Errors
/// As [`stay_on_this_processor`].
pub fn use_all_processors() -> Result<(), Errno> {
    use_processors(&[u8::MAX; MOST_PROCESSORS / 8])
}

/// Lets the calling thread run on these processors, a bit each. See sched_setaffinity(2).
///
/// # Errors
/// EINVAL: none of them is there, or in its cpuset. As [`stay_on_this_processor`].
pub fn use_processors(set: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads that many bytes at the most; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, set.len(), set.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Marks every open descriptor from `first` to `last` (both included) close-on-exec. See close_range(2),
/// CLOSE_RANGE_CLOEXEC: Linux 5.11.
pub fn close_range_on_exec(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: only sets a flag; no descriptor is closed while this program runs.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).map(drop)
}

/// Closes every descriptor from `first` to `last`, both included.
///
/// # Errors
/// ENOSYS: the kernel is older than Linux 5.9.
pub fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: only called by init for descriptors that came with its exec for the workload, between those that it
    // opened itself; no OwnedFd of this program has such a number.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes them, by one call if their numbers follow each other.
pub fn close(files: Vec<OwnedFd>) {
    let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let follow = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    if let ([first, _, ..], true) = (&*numbers, follow) {
        files.into_iter().map(OwnedFd::into_raw_fd).for_each(drop);
        // SAFETY: the numbers are those of the files, which nobody owns any more.
        unsafe { libc::syscall(libc::SYS_close_range, *first, numbers[numbers.len() - 1], 0) };
    }
}

/// Clears close-on-exec of descriptor `fd`, so that the next executed program has it.
pub fn keep_on_exec(fd: RawFd) -> Result<(), Errno> {
    // By its number: glibc's function uses the thread's state (a canary), and in a child that shares memory the thread that cloned
    // may be no more. SAFETY: only clears a flag.
    Errno::result(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, 0) }).map(drop)
}

/// Closes descriptor `fd`, which was handed down for the workload alone.
pub fn close_inherited(fd: RawFd) {
    // SAFETY: the caller names a descriptor that came with the plan for the workload; no OwnedFd of this
    // program has that number. close(2) frees it whatever it returns.
    unsafe { libc::close(fd) };
}

/// How a wait ended that does not block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Child `pid` changed its state; `status` is to be read by waitpid(2)'s macros.
    Changed {
        /// The child.
        pid: Pid,
        /// The raw wait status.
        status: c_int,
    },
    /// There are children, but none of them has anything to tell.
    Nothing,
    /// There are no children at all.
    NoChildren,
}

/// waitpid(2) for any child, without blocking, stops and continuations included.
///
/// nix's form fails on a death by a real-time signal after the zombie is gone, and so loses the status.
pub fn wait_any() -> Result<Waited, Errno> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
    // SAFETY: the pointer is to a live c_int.
    match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, flags) }) {
        Ok(0) => Ok(Waited::Nothing),
        Ok(pid) => Ok(Waited::Changed { pid: Pid::from_raw(pid), status }),
        Err(Errno::ECHILD) => Ok(Waited::NoChildren),
        Err(errno) => Err(errno),
    }
}

/// Whether there are children, dead ones that have not been reaped among them.
pub fn has_children() -> bool {
    peek() != Err(Errno::ECHILD)
}

/// A child that has ended and has not been reaped, without reaping it. See waitid(2), WNOWAIT.
pub fn peek_any() -> Result<Option<Pid>, Errno> {
    match peek() {
        Err(Errno::ECHILD) => Ok(None),
        peeked => peeked,
    }
}

fn peek() -> Result<Option<Pid>, Errno> {
    // SAFETY: siginfo_t is a plain C struct that zero is a value of.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the pointer is to a live siginfo_t.
    Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    // SAFETY: for a child's change of state the kernel fills in the pid; it is zero where there is none.
    Ok(Some(unsafe { info.si_pid() }).filter(|pid| *pid != 0).map(Pid::from_raw))
}

/// kill(2) with the number of any signal, the real-time ones included; `pid` as there (negative: a group).
pub fn kill(pid: i32, signal: c_int) -> Result<(), Errno> {
    // SAFETY: sends a signal, touches no memory.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// PIDFD_SIGNAL_PROCESS_GROUP of linux/pidfd.h: to the whole group whose leader the process is; Linux 6.9.
const TO_ITS_GROUP: u32 = 1 << 2;

/// Sends a signal of any number to the process behind `pidfd`, with a value as sigqueue(3) does or none as kill(2).
/// See pidfd_send_signal(2).
///
/// # Errors
/// ESRCH: it has ended. EINVAL: there is no such signal. EPERM.
pub fn signal_process(pidfd: BorrowedFd<'_>, signal: c_int, value: Option<u64>) -> Result<(), Errno> {
    send_by_pidfd(pidfd, signal, value, 0)
}

/// The same to the process group whose leader is behind `pidfd`.
///
/// # Errors
/// As [`signal_process`]; EINVAL too where the kernel is older than Linux 6.9.
pub fn signal_group(pidfd: BorrowedFd<'_>, signal: c_int, value: Option<u64>) -> Result<(), Errno> {
    send_by_pidfd(pidfd, signal, value, TO_ITS_GROUP)
}

/// A siginfo_t as sigqueue(3) fills it on 64-bit Linux (asm-generic/siginfo.h, `_rt`).
#[repr(C)]
struct QueuedSignal {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    sender: c_int,
    sender_uid: u32,
    value: u64,
    rest: [u64; 12],
}

fn send_by_pidfd(pidfd: BorrowedFd<'_>, signal: c_int, value: Option<u64>, flags: u32) -> Result<(), Errno> {
    const { assert!(size_of::<QueuedSignal>() == size_of::<libc::siginfo_t>()) };
    let info = value.map(|value| QueuedSignal {
        signal,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        sender: nix::unistd::getpid().as_raw(),
        sender_uid: nix::unistd::getuid().as_raw(),
        value,
        rest: [0; 12],
    });
    let info = info.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: null, which asks for what kill(2) would send, or a live record of a siginfo_t's size and form.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, flags) };
    Errno::result(result).map(drop)
}

/// Unlocks the terminal of a pty's `master`. See ioctl_tty(2), TIOCSPTLCK.
///
/// # Errors
/// ENOTTY: it is no master.
pub fn unlock_pty(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let unlock: c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) }).map(drop)
}

/// Opens the terminal of a pty's `master` with open(2)'s `flags`, whatever is mounted. See ioctl_tty(2), TIOCGPTPEER.
///
/// # Errors
/// As open(2).
pub fn open_pty_peer(master: BorrowedFd<'_>, flags: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: TIOCGPTPEER takes the flags as a number.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `terminal` the controlling one of this session, whose leader we are. See ioctl_tty(2), TIOCSCTTY.
///
/// # Errors
/// EPERM: the session has one, or it is another session's.
pub fn take_as_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// The window's size of a terminal, to be handed to [`set_window_size`]. See ioctl_tty(2), TIOCGWINSZ.
///
/// # Errors
/// ENOTTY
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<libc::winsize, Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }).map(|_| size)
}

/// Sets it; the kernel tells the foreground group of that terminal by SIGWINCH. See ioctl_tty(2), TIOCSWINSZ.
///
/// # Errors
/// ENOTTY
pub fn set_window_size(terminal: BorrowedFd<'_>, size: libc::winsize) -> Result<(), Errno> {
    // SAFETY: TIOCSWINSZ reads one winsize.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Installs a seccomp filter for this process and all that it starts. See seccomp(2).
///
/// # Errors
/// EACCES: without CAP_SYS_ADMIN in its user namespace it needs no_new_privs. EINVAL: the kernel has no filters, or this
/// is none.
pub fn install_filter(instructions: &[libc::sock_filter]) -> Result<(), Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions, which live during the call, and writes none.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    Errno::result(result).map(drop)
}

/// Sets a resource limit of this process. See setrlimit(2); `u64::MAX` is none.
///
/// # Errors
/// EPERM: a hard limit is raised by somebody without CAP_SYS_RESOURCE in the machine's own user namespace, or more
/// files than fs.nr_open. EINVAL: there is no such resource, or `soft` is above `hard`.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: pid 0 is this process; the kernel reads one live rlimit64 and, for null, writes none.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) };
    Errno::result(result).map(drop)
}

/// Sets the nice value of this process, -20 to 19. See setpriority(2).
///
/// # Errors
/// EACCES: it is lowered by somebody who has neither CAP_SYS_NICE in the machine's own user namespace nor RLIMIT_NICE.
pub fn set_niceness(value: c_int) -> Result<(), Errno> {
    // SAFETY: takes three numbers; id 0 is this process.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) }).map(drop)
}

/// How much memory is taken by what was sent through a socket and not read yet, in bytes. See unix(7), SIOCOUTQ.
///
/// # Errors
/// None that the kernel documents for a connected socket.
pub fn unread_bytes(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut bytes: c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ by another name, writes one int.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })
        .map(|_| usize::try_from(bytes).unwrap_or(0))
}

/// A pidfd of a process: of a child that has not been reaped, surely of that. See pidfd_open(2).
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn open_pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The pid of the process that a pidfd is for, as /proc/self/fdinfo has it; none if it has been reaped, or is in another PID
/// namespace. It may be another's as soon as that process is reaped. See pidfd_open(2).
///
/// # Errors
/// As open(2).
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Result<Option<Pid>, Errno> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(pid_in(&text).map(Pid::from_raw))
}

fn pid_in(information: &str) -> Option<i32> {
    let line = information.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Opens a file by its path, close-on-exec. By openat(2): musl's open(2) sets that by a second call.
///
/// # Errors
/// As open(2).
pub fn open(path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    nix::fcntl::openat(nix::fcntl::AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// The beginning of a file, as much of it as one read(2) gives and `buffer` holds. One of /proc or /sys that is short comes as
/// a whole.
///
/// # Errors
/// As open(2) and read(2); EILSEQ: it is no text.
pub fn read_short<'a>(path: &str, buffer: &'a mut [u8]) -> Result<&'a str, Errno> {
    let file = open(path, OFlag::O_RDONLY)?;
    let length = nix::unistd::read(&file, buffer)?;
    str::from_utf8(&buffer[..length]).map_err(|_| Errno::EILSEQ)
}

/// What has nothing to read and takes anything: /dev/null, or, in a root without /dev, a pipe whose other end is closed. It
/// has a number above 2: where one of the three below is closed, that becomes the same first, and stays.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn open_null() -> Result<OwnedFd, Errno> {
    loop {
        let null = open("/dev/null", OFlag::O_RDWR)
            .or_else(|_| nix::unistd::pipe2(OFlag::O_CLOEXEC).map(|(end, _)| end))?;
        if null.as_raw_fd() > libc::STDERR_FILENO {
            return Ok(null);
        }
        keep_on_exec(null.as_raw_fd())?;
        // Std's handle names it by its number.
        let _ = null.into_raw_fd();
    }
}

/// Puts `null` on these of the descriptors 0, 1 and 2, so that this process does not hold the workload's open.
///
/// # Errors
/// None that the kernel documents for open descriptors.
pub fn let_go_of(standard: &[RawFd], null: BorrowedFd<'_>) -> Result<(), Errno> {
    standard.iter().try_for_each(|fd| {
        // SAFETY: replaces a standard descriptor, which std's handle names by number and does not own.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), *fd) }).map(drop)
    })
}

/// Replaces this program; returns only when that failed. See execve(2).
pub fn execute(path: &CString, arguments: &CStringArray, environment: &CStringArray) -> Errno {
    // SAFETY: a C string and two null-terminated arrays of C strings, all borrowed for the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

/// C strings and the null-terminated array of pointers to them that execve(2) takes.
#[derive(Debug)]
pub struct CStringArray {
    pointers: Vec<*const c_char>,
    strings: Vec<CString>,
}

// SAFETY: the pointers are to the strings, which are its own and never changed.
unsafe impl Send for CStringArray {}
// SAFETY: the same; shared, they are only read.
unsafe impl Sync for CStringArray {}

impl CStringArray {
    /// Takes the strings in their order.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, strings }
    }

    /// The array, valid as long as `self`: a CString's bytes stay where they are when it is moved.
    pub fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// prctl(2) with one argument.
pub fn prctl(option: c_int, argument: c_long) -> Result<(), Errno> {
    // SAFETY: used for options whose argument is a number (or is unused), never a pointer.
    Errno::result(unsafe { libc::prctl(option, argument, 0 as c_long, 0 as c_long, 0 as c_long) }).map(drop)
}

/// Sets the name that ps shows; no more than its first 15 bytes. See prctl(2), PR_SET_NAME.
pub fn set_process_name(name: &str) -> Result<(), Errno> {
    let mut terminated = [0; 16];
    let shown = name.len().min(terminated.len() - 1);
    terminated[..shown].copy_from_slice(&name.as_bytes()[..shown]);
    // SAFETY: PR_SET_NAME reads at most 16 bytes of a null-terminated string.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NAME, terminated.as_ptr()) }).map(drop)
}

/// The three capability sets of one process. Bit n stands for capability n. See capabilities(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// In force.
    pub effective: u64,
    /// The most that may be put in force.
    pub permitted: u64,
    /// Kept across an exec, together with the file's.
    pub inheritable: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// _LINUX_CAPABILITY_VERSION_3: two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The sets of the calling thread. See capget(2).
pub fn capabilities() -> Result<Capabilities, Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut words = [[0_u32; 3]; 2];
    // SAFETY: version 3 reads the header and writes two records of three words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw const header, words.as_mut_ptr()) })?;
    let set = |i: usize| u64::from(words[1][i]) << 32 | u64::from(words[0][i]);
    Ok(Capabilities { effective: set(0), permitted: set(1), inheritable: set(2) })
}

/// Sets those of the calling thread. Allocates nothing: it runs between clone and exec. See capset(2).
pub fn set_capabilities(sets: Capabilities) -> Result<(), Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let word = |shift: u32| {
        [sets.effective, sets.permitted, sets.inheritable].map(|set| (set >> shift & 0xffff_ffff) as u32)
    };
    let words = [word(0), word(32)];
    // SAFETY: version 3 reads the header and two records of three words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) }).map(drop)
}

/// Raises one capability, which must be permitted and inheritable, in the ambient set: it survives an exec by a
/// user who isn't root. See prctl(2), PR_CAP_AMBIENT.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    // By its number, as in `keep_on_exec`. SAFETY: PR_CAP_AMBIENT takes numbers only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_CAP_AMBIENT,
            c_long::from(libc::PR_CAP_AMBIENT_RAISE),
            c_long::from(capability),
            0 as c_long,
            0 as c_long,
        )
    };
    Errno::result(result).map(drop)
}

/// Takes one capability out of the bounding set: no exec of this process or its children gives it any more. See
/// prctl(2), PR_CAPBSET_DROP.
///
/// # Errors
/// EPERM: without CAP_SETPCAP.
pub fn forbid_capability(capability: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, capability.into())
}

/// Whether a capability is in the bounding set. See prctl(2), PR_CAPBSET_READ.
///
/// # Errors
/// EINVAL: the kernel has no capability of this number.
pub fn may_have_capability(capability: u32) -> Result<bool, Errno> {
    // SAFETY: PR_CAPBSET_READ takes a number, and no more.
    Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_READ, c_long::from(capability)) }).map(|is| is == 1)
}

/// Sets the interface called `lo` up in this network namespace. See netdevice(7), SIOCSIFFLAGS.
pub fn set_loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: ifreq is a plain C struct that zero is a value of.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as c_char, b'o' as c_char]);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads the name and the flags of one ifreq.
    Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request)
    })
    .map(drop)
}

/// Sets the NIS domain name of this UTS namespace. See setdomainname(2).
pub fn set_domain_name(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads name.len() bytes.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// linux/mount.h
const OPEN_TREE_CLONE: c_uint = 1;
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
/// Attributes of a mount; mount_setattr(2).
pub const MOUNT_ATTR_RDONLY: u64 = 1;
/// See [`MOUNT_ATTR_RDONLY`].
pub const MOUNT_ATTR_NOSUID: u64 = 2;
/// See [`MOUNT_ATTR_RDONLY`].
pub const MOUNT_ATTR_NODEV: u64 = 4;
/// See [`MOUNT_ATTR_RDONLY`].
pub const MOUNT_ATTR_NOEXEC: u64 = 8;

/// A configuration of a new file system of this type. See fsopen(2).
///
/// # Errors
/// ENODEV: the kernel does not have it. EPERM: without CAP_SYS_ADMIN in the mount namespace's user namespace.
pub fn fsopen(kind: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: a C string and a number; the kernel makes a descriptor that nobody else knows of.
    unsafe { own(libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC)) }
}

/// Sets `key` to `value`. See fsconfig(2), FSCONFIG_SET_STRING.
///
/// # Errors
/// EINVAL: the file system has no such key, or the value is none for it.
pub fn fsconfig_string(context: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<(), Errno> {
    fsconfig(context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
}

/// Sets `key`, which has no value. See fsconfig(2), FSCONFIG_SET_FLAG.
///
/// # Errors
/// EINVAL: the file system has no such key.
pub fn fsconfig_flag(context: BorrowedFd<'_>, key: &CStr) -> Result<(), Errno> {
    fsconfig(context, FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
}

/// Makes the file system. See fsconfig(2), FSCONFIG_CMD_CREATE.
///
/// # Errors
/// The file system's own.
pub fn fsconfig_create(context: BorrowedFd<'_>) -> Result<(), Errno> {
    fsconfig(context, FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())
}

fn fsconfig(
    context: BorrowedFd<'_>,
    command: c_uint,
    key: *const c_char,
    value: *const c_char,
) -> Result<(), Errno> {
    // SAFETY: key and value are null or C strings that the callers borrow for the call, as the command wants them.
    let result =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0 as c_int) };
    Errno::result(result).map(drop)
}

/// A detached mount of the file system that was configured. See fsmount(2).
///
/// # Errors
/// EPERM: of proc, where the caller's own is partly covered.
pub fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers only; the kernel makes a descriptor that nobody else knows of.
    unsafe {
        own(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes as c_uint))
    }
}

/// A detached copy of the mount that `path` is on, from there downwards, with all that is mounted below it; links are
/// followed. Without a path, of what `directory` stands for. See open_tree(2).
///
/// # Errors
/// As open(2). EINVAL: not in this mount namespace.
pub fn clone_tree(directory: Option<BorrowedFd<'_>>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as c_uint
        | libc::AT_RECURSIVE as c_uint
        | if path.is_empty() { libc::AT_EMPTY_PATH as c_uint } else { 0 };
    let directory = directory.map_or(libc::AT_FDCWD, |directory| directory.as_raw_fd());
    // SAFETY: a C string and numbers; the kernel makes a descriptor that nobody else knows of.
    unsafe { own(libc::syscall(libc::SYS_open_tree, directory, path.as_ptr(), flags)) }
}

/// Sets attributes of a mount, which `mount` stands for the root of; and of all mounted below it. See
/// mount_setattr(2).
///
/// # Errors
/// EINVAL: not the root of a mount.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, set: u64) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty path, and a structure of the size that is named, which the kernel only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Attaches a detached mount, on top of whatever is mounted there. See move_mount(2).
///
/// # Errors
/// EINVAL: one is a directory and the other is none.
pub fn move_mount(mount: BorrowedFd<'_>, at: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (mount.as_raw_fd(), at.as_raw_fd());
    // SAFETY: two empty paths and numbers.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
    Errno::result(result).map(drop)
}

/// The mount and the inode number of what a descriptor stands for. See statx(2), STATX_MNT_ID.
///
/// # Errors
/// ENOSYS: no Linux 4.11.
pub fn mount_and_inode(fd: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_MNT_ID | libc::STATX_INO;
    // By its number, since musl has no function of this name. SAFETY: an empty path, and room for one statx, which the
    // kernel fills.
    let result = unsafe {
        let fd = fd.as_raw_fd();
        libc::syscall(libc::SYS_statx, fd, c"".as_ptr(), libc::AT_EMPTY_PATH, mask, found.as_mut_ptr())
    };
    Errno::result(result)?;
    // SAFETY: any bytes are a statx, and these are zero where the kernel wrote nothing.
    let found = unsafe { found.assume_init() };
    Ok((found.stx_mnt_id, found.stx_ino))
}

/// Makes descriptor `at` another one for what `fd` is, close-on-exec. Whatever it was before is closed, so the number has
/// to be one that nobody in this process owns: one that is reserved for the workload. See dup3(2).
///
/// # Errors
/// EBADF: `at` is above the limit of open files.
pub fn place(fd: BorrowedFd<'_>, at: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == at {
        return Ok(());
    }
    // SAFETY: takes numbers; by the contract above no owner of `at` is left with another file than its own.
    Errno::result(unsafe { libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC) }).map(drop)
}

/// A new descriptor above 2 for what descriptor `fd` stands for; close-on-exec. See fcntl(2), F_DUPFD_CLOEXEC.
///
/// # Errors
/// EBADF: `fd` is not open. EMFILE.
pub fn duplicate(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl takes any number and answers EBADF where nothing is open; what it makes nobody else knows of.
    unsafe { own(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1).into()) }
}

/// The descriptor that a system call returned.
///
/// # Safety
/// If it is not -1, it is open and nobody else's.
unsafe fn own(result: c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(result)? as RawFd;
    // SAFETY: as our caller promises.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_behind_a_pidfd_is_that_of_its_fdinfo() {
        assert_eq!(pid_in("pos:\t0\nflags:\t02000002\nmnt_id:\t16\nPid:\t77\nNSpid:\t77\n"), Some(77));
        // Reaped, and in another PID namespace.
        assert_eq!(pid_in("pos:\t0\nPid:\t-1\n"), None);
        assert_eq!(pid_in("pos:\t0\nPid:\t0\nNSpid:\t0\n"), None);
        assert_eq!(pid_in(""), None);
    }
}
