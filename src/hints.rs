//! What to do about an error, where its cause can be known: (error, facts) → a hint.

#![forbid(unsafe_code)]

use std::path::Path;

use launch_init::handoff::Failure;
use nix::errno::Errno;

use crate::error::Error;
pub use crate::idmap::Powerless;
use crate::idmap::powerless_helper;

/// The state of the system that explains a failure; read only after one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Those of the sysctls `user.max_*_namespaces` that are 0.
    pub switched_off: Vec<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns` is on.
    pub apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone` (Debian's) is off.
    pub unprivileged_clone_off: bool,
    /// A mount covers part of /proc.
    pub proc_is_covered: bool,
    /// The root directory is not that of the mount namespace (chroot).
    pub in_chroot: bool,
    /// The caller is root without CAP_SETFCAP.
    pub root_lacks_setfcap: bool,
    /// The caller's children go to another PID namespace than it is in.
    pub pid_namespace_is_for_children: bool,
    /// no_new_privs is set.
    pub no_new_privileges: bool,
    /// What keeps newuidmap(1) or newgidmap(1) from mapping ids.
    pub powerless_helper: Option<Powerless>,
    /// The kernel has time namespaces.
    pub has_time_namespaces: bool,
}

impl Facts {
    /// Reads them from /proc. What cannot be read explains nothing.
    pub fn read() -> Self {
        let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let kinds = ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"];
        let off = |kind: &&&str| number(&format!("/proc/sys/user/max_{kind}_namespaces")) == Some(0);
        let namespace = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount_points = || mounts.lines().filter_map(|line| line.split(' ').nth(4));
        Self {
            switched_off: kinds
                .iter()
                .filter(off)
                .map(|kind| format!("user.max_{kind}_namespaces"))
                .collect(),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            unprivileged_clone_off: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            proc_is_covered: mount_points().any(|path| path.starts_with("/proc/") && !is_left_open(path)),
            in_chroot: !mounts.is_empty() && !mount_points().any(|path| path == "/"),
            root_lacks_setfcap: nix::unistd::geteuid().is_root()
                && launch_init::sys::capabilities().is_ok_and(|sets| sets.effective & 1 << CAP_SETFCAP == 0),
            pid_namespace_is_for_children: namespace("pid") != namespace("pid_for_children"),
            no_new_privileges: std::fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| status.lines().any(|line| line == "NoNewPrivs:\t1")),
            powerless_helper: powerless_helper(),
            has_time_namespaces: Path::new("/proc/self/ns/time").exists(),
        }
    }
}

/// linux/capability.h
const CAP_SETFCAP: u32 = 31;

/// The kernel makes these directories for others to mount on: covered, they hide nothing.
fn is_left_open(path: &str) -> bool {
    path == "/proc/sys/fs/binfmt_misc"
}

fn is_in_the_files(step: &str) -> bool {
    matches!(step, "mount" | "root")
}

/// What to do about `error`, in one line, if that is known.
pub fn hint(error: &Error, facts: &Facts) -> Option<String> {
    if let Error::IdHelper(_, reason) = error {
        return helpers_hint(reason, facts);
    }
    match (error, error.errno()?) {
        (Error::Clone(..), Errno::ENOSPC | Errno::EUSERS) => Some(match facts.switched_off.first() {
            Some(sysctl) => format!("these namespaces are switched off here; as root: sysctl -w {sysctl}=10000"),
            None => "a limit of namespaces is reached: they nest 32 deep at most, and user.max_*_namespaces \
                     (sysctl) limit their number for each user"
                .into(),
        }),
        (Error::Clone(..), Errno::EPERM) if facts.unprivileged_clone_off => Some(
            "user namespaces are for root only here; as root: sysctl -w kernel.unprivileged_userns_clone=1".into(),
        ),
        (Error::Clone(..), Errno::EPERM) if facts.in_chroot => {
            Some("a user namespace cannot be made in a chroot; use pivot_root for the outer one".into())
        }
        (Error::Clone(..), Errno::EPERM) => Some(
            "an outer container's seccomp filter may forbid it (docker and podman: --security-opt seccomp=unconfined)"
                .into(),
        ),
        (Error::Clone(..), Errno::ENOSYS) => Some("Linux 5.12 is needed, and pidfds".into()),
        (Error::Clone(..), Errno::EAGAIN) => {
            Some("a limit of processes is reached: ulimit -u, or the cgroup's pids.max".into())
        }
        (Error::Clone(..), Errno::EINVAL) if facts.pid_namespace_is_for_children => Some(
            "this process has unshared its PID namespace without entering it, as by unshare --pid without --fork".into(),
        ),
        (Error::Clone(..), Errno::EINVAL) => Some("this kernel lacks one of these kinds of namespaces".into()),
        (Error::IdMap(..) | Error::Inside(_), Errno::EPERM | Errno::EACCES) if facts.apparmor_restricts => Some(
            "AppArmor restricts user namespaces here; allow launch by a profile with `userns,`, or as root: \
             sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
                .into(),
        ),
        (Error::InitFile(path, _), Errno::ENOENT) if path == "/proc/self/exe" => {
            Some("/proc must be mounted: mount -t proc proc /proc".into())
        }
        (Error::Inside(failure), Errno::EPERM)
            if failure.step == "mount" && failure.object == "/proc" || failure.step == "user namespaces" =>
        {
            facts.proc_is_covered.then(|| {
                "part of /proc is covered here, as in most containers, and the kernel allows no new one that would \
                 show more; start the outer container with an open /proc (docker: --security-opt \
                 systempaths=unconfined, podman: --security-opt unmask=ALL)"
                    .into()
            })
        }
        (Error::Inside(failure), Errno::ENOENT) if failure.step == "mount" && failure.object == "/tmp" => {
            Some("this root has no /tmp: --keep-tmp leaves it so".into())
        }
        (Error::Inside(failure), Errno::EMFILE) if is_in_the_files(&failure.step) => Some(
            "every source is held open until all is mounted; raise the limit of open files: ulimit -Hn".into(),
        ),
        (Error::Inside(failure), Errno::EROFS | Errno::EACCES | Errno::EPERM)
            if failure.detail.contains("cannot be made") =>
        {
            Some(
                "what is missing is made in the tree itself; make it there before, or mount a tmpfs above it first".into(),
            )
        }
        (Error::Inside(failure), Errno::EAGAIN) if failure.object == "fork" => {
            Some("a limit of processes is reached: ulimit -u, or the cgroup's pids.max".into())
        }
        (Error::Inside(failure), Errno::ENOSPC) if failure.step == "time namespace" => {
            Some("time namespaces are switched off here, or used up; see user.max_time_namespaces (sysctl)".into())
        }
        (Error::IdMap(..), Errno::EPERM) if facts.root_lacks_setfcap => Some(
            "root's ids can only be mapped with CAP_SETFCAP (user_namespaces(7)); an outer container may lack it".into(),
        ),
        (Error::InitFile(..), Errno::ESTALE) => Some(
            "its path leads to another file here, or to none: run launch by a path of this root file system".into(),
        ),
        (Error::Inside(failure), Errno::EINVAL)
            if facts.in_chroot && failure.step == "mount" && failure.object == "/" =>
        {
            Some("the root of a chroot has to be a mount, as by mount --bind DIR DIR before the chroot".into())
        }
        (Error::Inside(failure), Errno::ENOSPC)
            if failure.step == "mount" && !failure.detail.contains("cannot be made") =>
        {
            Some("a limit of mounts is reached: fs.mount-max (sysctl), for each mount namespace".into())
        }
        (Error::Inside(failure), Errno::EINVAL) if failure.step == "time namespace" && !facts.has_time_namespaces => {
            Some("this kernel has no time namespaces: they came with Linux 5.6, CONFIG_TIME_NS".into())
        }
        (Error::Inside(failure), Errno::EACCES) if failure.step == "init" && failure.object == launch_init::NAME => Some(
            "PID 1 may not execute launch's own file: where the maps leave out the caller, everybody must be allowed to \
             (chmod a+rx), and its file system must not be mounted noexec"
                .into(),
        ),
        (Error::Inside(failure), errno) if failure.step == "workload" => workload_hint(failure, errno),
        (Error::Descriptor(..), Errno::EBADF) => Some("open it in the calling shell, as in: launch ... 5</a/file".into()),
        _ => None,
    }
}

fn helpers_hint(reason: &str, facts: &Facts) -> Option<String> {
    let hint = match facts.powerless_helper {
        _ if reason.contains("Cannot determine your user name") => {
            "it serves only users that passwd(5) knows; a line for this uid is missing"
        }
        _ if reason.contains("owned by a different user") => {
            "the caller's group must be its primary one, or login.defs(5) set GRANT_AUX_GROUP_SUBIDS"
        }
        _ if facts.no_new_privileges => {
            "no_new_privs is set here, as inside of other sandboxes, and takes its privileges: start launch outside of \
             them, or map the caller alone"
        }
        Some(Powerless::Unprivileged) => {
            "it has lost its privileges; as root: chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap"
        }
        Some(Powerless::NoSuid) => "its file system is mounted nosuid, which takes its privileges",
        None => return None,
    };
    Some(hint.into())
}

/// What is refused to the workload's process.
fn workload_hint(failure: &Failure, errno: Errno) -> Option<String> {
    let hint = match (failure.object.to_str()?, errno) {
        ("user" | "groups", Errno::EINVAL) => {
            "only mapped ids exist inside; map more of them with --map-users and --map-groups, or with --map auto"
        }
        ("groups", Errno::EPERM) => {
            "with --map auto, or with --map-groups and more than one group, setgroups is allowed"
        }
        ("nice value", Errno::EACCES) => {
            "it is inherited, so that launch itself can be started with it: nice -n N launch ..."
        }
        ("oom_score_adj", Errno::EACCES) => {
            "it is inherited, so that launch itself can be started with it: choom -n N -- launch ..."
        }
        (limit, Errno::EPERM) if limit.starts_with("limit ") => {
            "it is inherited, so that launch itself can be started with it: prlimit --NAME=SOFT:HARD launch ..."
        }
        _ => return None,
    };
    Some(hint.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount_proc_failed(errno: Errno) -> Error {
        Error::Inside(Box::new(Failure {
            code: 125,
            step: "mount".into(),
            object: "/proc".into(),
            detail: String::new(),
            errno: errno as i32,
        }))
    }

    fn clone_failed(errno: Errno) -> Error {
        Error::Clone("user".into(), errno)
    }

    #[track_caller]
    fn says(error: &Error, facts: &Facts, words: &str) {
        let hint = hint(error, facts).unwrap_or_default();
        assert!(hint.contains(words), "{hint:?} does not say {words:?}");
        assert!(!hint.contains('\n') && !hint.contains("  "), "{hint:?} is not one tidy line");
    }

    #[test]
    fn each_known_cause_has_its_hint() {
        let off = Facts { switched_off: vec!["user.max_user_namespaces".into()], ..Facts::default() };
        says(&clone_failed(Errno::ENOSPC), &off, "sysctl -w user.max_user_namespaces=");
        says(&clone_failed(Errno::ENOSPC), &Facts::default(), "32 deep");
        let debian = Facts { unprivileged_clone_off: true, ..Facts::default() };
        says(&clone_failed(Errno::EPERM), &debian, "kernel.unprivileged_userns_clone=1");
        says(&clone_failed(Errno::EPERM), &Facts { in_chroot: true, ..Facts::default() }, "chroot");
        says(&clone_failed(Errno::EPERM), &Facts::default(), "seccomp");
        let apparmor = Facts { apparmor_restricts: true, ..Facts::default() };
        let restricted = "kernel.apparmor_restrict_unprivileged_userns=0";
        says(&mount_proc_failed(Errno::EACCES), &apparmor, restricted);
        says(&Error::IdMap("/proc/1/uid_map".into(), Errno::EPERM), &apparmor, restricted);
        let helper = |reason: &str| Error::IdHelper("newuidmap".into(), reason.into());
        let caps = helper("Could not set caps");
        says(&caps, &Facts { no_new_privileges: true, ..Facts::default() }, "no_new_privs");
        let powerless = |why| Facts { powerless_helper: Some(why), ..Facts::default() };
        says(&caps, &powerless(Powerless::Unprivileged), "chmod u+s");
        says(&caps, &powerless(Powerless::NoSuid), "nosuid");
        says(&helper("Cannot determine your user name."), &Facts::default(), "passwd(5)");
        says(
            &helper("Target process is owned by a different user"),
            &Facts::default(),
            "GRANT_AUX_GROUP_SUBIDS",
        );
        let covered = Facts { proc_is_covered: true, ..Facts::default() };
        says(&mount_proc_failed(Errno::EPERM), &covered, "covered");
    }

    #[test]
    fn no_cause_is_guessed_at() {
        assert_eq!(hint(&mount_proc_failed(Errno::EPERM), &Facts::default()), None);
        assert_eq!(hint(&Error::IdHelper("newuidmap".into(), "no".into()), &Facts::default()), None);
        assert_eq!(hint(&Error::Option("--net".into(), "x".into()), &Facts::default()), None);
    }
}
