//! What falls in the workload's process, last of all before its exec. No step needs a right that an earlier one took:
//!
//! 1. umask, nice value, oom_score_adj. Before the limits: RLIMIT_NICE shall be the caller's, and RLIMIT_NOFILE could
//!    forbid to open a file.
//! 2. Resource limits, while every capability is there: to raise a hard one takes CAP_SYS_RESOURCE.
//! 3. The bounding set, which takes CAP_SETPCAP: a change of user would take that.
//! 4. Supplementary groups, gid, uid: the first two take CAP_SETGID, and the uid takes that away.
//! 5. The other capability sets. After the uid: to change that empties the effective and the ambient set.
//! 6. no_new_privs, so that no exec from here on gives anything back. Filters need it too.
//! 7. The parent death signal, which a change of user clears; then the signal mask, both in spawn.rs.
//! 8. The seccomp filters, after which there is nothing but the exec: they may refuse any of the above.
//!
//! See capabilities(7), user_namespaces(7), prctl(2) and seccomp(2). securebits(7) stay as they are.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsString};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fchown, getpid, setgid, setgroups, setuid};

use crate::error::Error;
use crate::handoff::{Account, CapabilitySets, Failure, Instruction, Limit, Name, Workload};
use crate::parse::{CAPABILITIES, LIMITS, User};
use crate::sys::{self, CStringArray};
use crate::{accounts, exit, proc};

/// What is found out and made ready before the fork.
#[derive(Debug)]
pub(crate) struct Privileges<'a> {
    workload: &'a Workload,
    user: Option<User>,
    /// Whether the workload is root inside.
    is_root: bool,
    /// Whether setgroups(2) is given up in this user namespace.
    setgroups_is_denied: bool,
    filters: Vec<Vec<libc::sock_filter>>,
    proc: Option<BorrowedFd<'a>>,
}

/// Whether [`Privileges::prepare`] wants a proc.
pub(crate) fn need_proc(workload: &Workload) -> bool {
    workload.oom_score.is_some() || workload.user.is_some()
}

impl<'a> Privileges<'a> {
    /// Looks the user up in the root that is there now. `is_root` is whether this process is root, which the workload is too
    /// if it has no user of its own. `proc` is [`proc::detached`], where [`need_proc`] says so; without
    /// it, as standalone, setgroups(2) counts as allowed, and there is no oom_score_adj to be set.
    ///
    /// # Errors
    /// [`Error::Workload`]
    pub(crate) fn prepare(
        workload: &'a Workload,
        is_root: bool,
        proc: Option<BorrowedFd<'a>>,
    ) -> Result<Self, Error> {
        let user = workload.user.as_ref().map(user).transpose()?;
        let is_root = user.as_ref().map_or(is_root, |user| user.uid == 0);
        let setgroups_is_denied = match (&user, proc) {
            (Some(_), Some(proc)) => {
                let denied = proc::read(proc, &format!("{}/setgroups", getpid()))
                    .map_err(|errno| Error::Workload(Box::new(failed("groups")(errno))))?;
                denied.trim() == "deny"
            }
            _ => false,
        };
        let filters = workload.filters.iter().map(|filter| filter.iter().map(in_kernels_form).collect());
        Ok(Self { workload, user, is_root, setgroups_is_denied, filters: filters.collect(), proc })
    }

    /// Steps 1 to 6, in the new process. `terminal`, if it has one of its own, becomes the user's, as login(1) does it.
    ///
    /// # Errors
    /// Which step failed, and why.
    pub(crate) fn fall(&self, terminal: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        if let Some(mode) = self.workload.umask {
            umask(Mode::from_bits_truncate(mode));
        }
        if let Some(value) = self.workload.niceness {
            sys::set_niceness(value).map_err(|errno| of_niceness(value, errno))?;
        }
        if let (Some(value), Some(proc)) = (self.workload.oom_score, self.proc) {
            set_oom_score(proc, value).map_err(|errno| of_oom_score(value, errno))?;
        }
        for limit in &self.workload.limits {
            let Limit { resource, soft, hard } = *limit;
            sys::set_limit(resource, soft, hard).map_err(|errno| of_limit(resource, errno))?;
        }
        if let Some(sets) = self.workload.capabilities {
            check_available(sets)?;
            bound(sets.allowed).map_err(failed("bounding set"))?;
        }
        if let Some(user) = &self.user {
            if let Some(terminal) = terminal {
                fchown(terminal, Some(Uid::from_raw(user.uid)), None).map_err(failed("terminal"))?;
            }
            self.become_user(user)?;
        }
        if let Some(sets) = self.workload.capabilities {
            reduce(sets, self.is_root).map_err(failed("capabilities"))?;
        }
        if self.workload.no_new_privileges {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(failed("no_new_privs"))?;
        }
        Ok(())
    }

    /// Step 8.
    ///
    /// # Errors
    /// The kernel does not take a filter, or an earlier one refuses seccomp(2).
    pub(crate) fn install_filters(&self) -> Result<(), Failure> {
        self.filters.iter().try_for_each(|filter| sys::install_filter(filter)).map_err(failed("seccomp"))
    }

    /// Why nothing can be executed, if it is the filters that refuse it: without them, an empty path is one that does not
    /// exist; execve(2). A filter that kills instead tells nothing; the workload's end does.
    pub(crate) fn refusal_to_execute(&self) -> Option<Failure> {
        if self.filters.is_empty() {
            return None;
        }
        let nothing = || CStringArray::new(Vec::new());
        match sys::execute(&CString::default(), &nothing(), &nothing()) {
            Errno::ENOENT => None,
            errno => Some(Failure {
                detail: format!(
                    "the profile refuses execve(2), so that no program can be started: {}",
                    errno.desc()
                ),
                ..failed("seccomp")(errno)
            }),
        }
    }

    fn become_user(&self, user: &User) -> Result<(), Failure> {
        let keeps = self.workload.capabilities.is_some_and(|sets| sets.ambient != 0);
        if keeps && user.uid != 0 {
            // The permitted set only; capabilities(7), "Effect of user ID changes on capabilities".
            sys::prctl(libc::PR_SET_KEEPCAPS, 1).map_err(failed("PR_SET_KEEPCAPS"))?;
        }
        self.set_groups(&user.groups)?;
        setgid(Gid::from_raw(user.gid)).map_err(|errno| of_id("user", "gid", user.gid, errno))?;
        setuid(Uid::from_raw(user.uid)).map_err(|errno| of_id("user", "uid", user.uid, errno))
    }

    /// Where setgroups(2) is given up, the caller's groups stay: to leave one could give rights (CVE-2014-8989).
    fn set_groups(&self, groups: &[u32]) -> Result<(), Failure> {
        if self.setgroups_is_denied {
            return match groups {
                [] => Ok(()),
                _ => Err(Failure {
                    detail: "setgroups is denied in this user namespace, since its maps are those of an ordinary user"
                        .into(),
                    ..failed("groups")(Errno::EPERM)
                }),
            };
        }
        let gids: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
        match setgroups(&gids) {
            // The kernel does not say which.
            Err(errno @ Errno::EINVAL) => Err(match groups {
                [one] => of_id("groups", "gid", *one, errno),
                _ => Failure {
                    detail: "one of them is not mapped in this user namespace".into(),
                    ..failed("groups")(errno)
                },
            }),
            // Without groups of its own, it is the change of user that is not allowed.
            result => result.map_err(failed(if groups.is_empty() { "user" } else { "groups" })),
        }
    }
}

/// The account in numbers, as it is looked up now: what is written there later changes nothing.
///
/// # Errors
/// [`Error::Workload`]
pub(crate) fn in_numbers(account: &Account) -> Result<Account, Error> {
    let User { uid, gid, groups } = user(account)?;
    let groups = groups.into_iter().map(Name::Id).collect();
    Ok(Account { user: Name::Id(uid), group: Some(Name::Id(gid)), groups })
}

fn user(account: &Account) -> Result<User, Error> {
    accounts::resolve(account).map_err(|reason| {
        Error::Workload(Box::new(Failure { detail: reason, errno: 0, ..failed("user")(Errno::UnknownErrno) }))
    })
}

fn in_kernels_form(instruction: &Instruction) -> libc::sock_filter {
    let Instruction { code, jump_true, jump_false, operand } = *instruction;
    libc::sock_filter { code, jt: jump_true, jf: jump_false, k: operand }
}

/// This file is root's while the process is closed as init is (proc(5), "dumpable"), and there may be no root inside.
/// Nobody but init is there yet to make use of the moment in which it is not.
fn set_oom_score(proc: BorrowedFd<'_>, value: i32) -> Result<(), Errno> {
    sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
    proc::write(proc, &format!("{}/oom_score_adj", getpid()), &value.to_string())?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
}

/// What was asked for by its name and cannot be had is an error.
fn check_available(sets: CapabilitySets) -> Result<(), Failure> {
    if sets.ambient == u64::MAX || sets.ambient & sets.allowed == 0 {
        return Ok(());
    }
    let asked = sets.ambient & sets.allowed & !sys::capabilities().map_err(failed("capabilities"))?.permitted;
    // EINVAL: the kernel knows no such one.
    let is_known = |bit: &u32| sys::may_have_capability(*bit) != Err(Errno::EINVAL);
    let missing = (0..u64::BITS)
        .filter(|bit| asked & 1 << bit != 0)
        .filter(is_known)
        .fold(0, |set, bit| set | 1_u64 << bit);
    if missing == 0 {
        return Ok(());
    }
    let number = missing.trailing_zeros() as usize;
    let name = CAPABILITIES.get(number).map_or_else(|| number.to_string(), |name| format!("CAP_{name}"));
    let detail = format!("{name} cannot be added: init does not have it itself");
    Err(Failure { detail, ..failed("capabilities")(Errno::EPERM) })
}

fn bound(allowed: u64) -> Result<(), Errno> {
    for capability in (0..u64::BITS).filter(|capability| allowed & 1 << capability == 0) {
        match sys::forbid_capability(capability) {
            Ok(()) => {}
            // The kernel's last one was before.
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP, one that is not there anyway needs not be taken.
            Err(Errno::EPERM) if sys::may_have_capability(capability) == Ok(false) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A root keeps by its exec what it is left here; anybody else only what is ambient, which has to be inheritable too. To
/// empty the inheritable set empties the ambient one; capabilities(7).
fn reduce(sets: CapabilitySets, is_root: bool) -> Result<(), Errno> {
    let roots = |permitted| sys::Capabilities { effective: permitted, permitted, inheritable: 0 };
    if is_root {
        match sys::set_capabilities(roots(sets.allowed)) {
            // Some of them are not there to be kept.
            Err(Errno::EPERM) => {}
            result => return result,
        }
    }
    let permitted = sys::capabilities()?.permitted & sets.allowed;
    if is_root {
        return sys::set_capabilities(roots(permitted));
    }
    let kept = permitted & sets.ambient;
    sys::set_capabilities(sys::Capabilities { effective: kept, permitted: kept, inheritable: kept })?;
    (0..u64::BITS).filter(|capability| kept & 1 << capability != 0).try_for_each(sys::raise_ambient)
}

/// Makes the failure of what is done to `object` in the new process out of its reason.
pub(crate) fn failed(object: &str) -> impl FnOnce(Errno) -> Failure + use<> {
    let object = OsString::from(object);
    move |errno| Failure {
        code: exit::FAILED,
        step: "workload".into(),
        object,
        detail: String::new(),
        errno: errno as i32,
    }
}

fn of_id(object: &str, kind: &str, id: u32, errno: Errno) -> Failure {
    let detail = match errno {
        Errno::EINVAL => format!("{kind} {id} is not mapped in this user namespace"),
        _ => format!("{kind} {id}: {}", errno.desc()),
    };
    Failure { detail, ..failed(object)(errno) }
}

fn of_niceness(value: i32, errno: Errno) -> Failure {
    let detail = match errno {
        Errno::EACCES => {
            format!("{value} is less than the caller's, for which it takes CAP_SYS_NICE outside")
        }
        _ => String::new(),
    };
    Failure { detail, ..failed("nice value")(errno) }
}

fn of_oom_score(value: i32, errno: Errno) -> Failure {
    let detail = match errno {
        Errno::EACCES => {
            format!("{value} is less than the caller's, for which it takes CAP_SYS_RESOURCE outside")
        }
        _ => String::new(),
    };
    Failure { detail, ..failed("oom_score_adj")(errno) }
}

fn of_limit(resource: u32, errno: Errno) -> Failure {
    let name = LIMITS.iter().find(|(_, number)| *number == resource).map_or("unknown", |(name, _)| *name);
    let most = if name == "nofile" { " (and none is above fs.nr_open)" } else { "" };
    let detail = match errno {
        Errno::EPERM => {
            format!("the hard limit is above the caller's, for which it takes CAP_SYS_RESOURCE outside{most}")
        }
        _ => String::new(),
    };
    Failure { detail, ..failed(&format!("limit {name}"))(errno) }
}
