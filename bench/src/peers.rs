//! Who is measured, and with which command line each does the same: new user, mount, PID, UTS, IPC and cgroup namespaces, a
//! fresh /proc and /tmp, the host name `container`. What somebody cannot do the same is said in a note. Nothing is run here.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Who starts sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The release build, by scripts/release.
    Launch,
    /// `cargo build --release`.
    LaunchPlain,
    /// two-steps.c, which is no product: a floor.
    TwoSteps,
    /// tutorial.c, linked statically to glibc.
    TutorialStatic,
    /// tutorial.c, linked dynamically.
    Tutorial,
    /// bubblewrap.
    Bwrap,
    /// Of util-linux.
    Unshare,
    /// hakoniwa-cli.
    Hakoniwa,
    /// Of Chromium OS.
    Minijail,
    /// Of Google.
    Nsjail,
    /// In C, as podman uses it.
    Crun,
    /// In Go, as docker uses it.
    Runc,
    /// Of systemd.
    Nspawn,
    /// With its setuid bit.
    Firejail,
    /// Without a daemon.
    Podman,
}

/// All of them, those that are compared with first.
pub const ALL: [Peer; 15] = [
    Peer::Launch,
    Peer::LaunchPlain,
    Peer::TwoSteps,
    Peer::TutorialStatic,
    Peer::Tutorial,
    Peer::Bwrap,
    Peer::Unshare,
    Peer::Hakoniwa,
    Peer::Minijail,
    Peer::Nsjail,
    Peer::Crun,
    Peer::Runc,
    Peer::Nspawn,
    Peer::Firejail,
    Peer::Podman,
];

/// Whom everybody is compared with.
pub const OURS: &[&str] = &["launch", "launch-plain"];

impl Peer {
    /// Its row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::LaunchPlain => "launch-plain",
            Self::TwoSteps => "two-steps",
            Self::TutorialStatic => "tutorial-static",
            Self::Tutorial => "tutorial",
            Self::Bwrap => "bwrap",
            Self::Unshare => "unshare",
            Self::Hakoniwa => "hakoniwa",
            Self::Minijail => "minijail0",
            Self::Nsjail => "nsjail",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Nspawn => "systemd-nspawn",
            Self::Firejail => "firejail",
            Self::Podman => "podman",
        }
    }

    /// Whether it does none of this for an ordinary user, or not without being set up for it.
    pub fn needs_root(self) -> bool {
        matches!(self, Self::Crun | Self::Runc | Self::Nspawn | Self::Podman)
    }

    /// Whether it is too slow or too large for what takes long anyway.
    pub fn is_heavy(self) -> bool {
        matches!(self, Self::Runc | Self::Nspawn | Self::Firejail | Self::Podman)
    }

    /// Whether it needs a root file system of its own, in every case.
    fn needs_rootfs(self) -> bool {
        matches!(self, Self::Crun | Self::Runc | Self::Nspawn | Self::Podman)
    }
}

/// What is run inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Ends at once; without libc.
    True,
    /// Ends at once; with glibc, static.
    TrueGlibc,
    /// Says a byte, and stays.
    Hold,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::True, Self::TrueGlibc, Self::Hold];

    /// Its file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::TrueGlibc => "true-glibc",
            Self::Hold => "hold",
        }
    }
}

/// What is asked of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// A network namespace of its own.
    pub net: bool,
    /// A root file system of its own, with a minimal /dev.
    pub rootfs: bool,
    /// So many directories, read-only, at paths that have to be made.
    pub binds: usize,
    /// What is run.
    pub workload: Workload,
}

impl Setup {
    /// The caller's network and files, and a workload that ends at once.
    pub const SHARED: Self = Self { net: false, rootfs: false, binds: 0, workload: Workload::True };

    /// A file name for it.
    pub fn slug(self) -> String {
        let net = if self.net { "net" } else { "shared" };
        format!("{net}-{}-{}", self.binds, self.workload.name())
    }
}

/// Where the files of the bench are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The workloads, each under its name.
    pub workloads: PathBuf,
    /// A root file system, with the workloads in its /bin.
    pub rootfs: PathBuf,
    /// Directories to bind, 0, 1, and so on.
    pub binds: PathBuf,
    /// OCI bundles, by [`Setup::slug`].
    pub bundles: PathBuf,
    /// What is of this run alone.
    pub state: PathBuf,
}

/// A command line, and what it does otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The program and its arguments; `{id}` stands for a word that is new each time.
    pub words: Vec<OsString>,
    /// What differs.
    pub note: &'static str,
}

/// What stands for a word that is new each time.
pub const ID: &str = "{id}";

impl Line {
    /// With this number in the place of [`ID`].
    pub fn numbered(&self, number: u64) -> Vec<OsString> {
        let id = format!("launch-bench-{}-{number}", std::process::id());
        self.words.iter().map(|word| if word == ID { id.clone().into() } else { word.clone() }).collect()
    }

    /// As it is shown.
    pub fn text(&self) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        if self.words.len() > 100 {
            return format!(
                "{} ... ({} words)",
                words.take(20).collect::<Vec<_>>().join(" "),
                self.words.len()
            );
        }
        words.collect::<Vec<_>>().join(" ")
    }
}

/// How this peer, which is the program at `tool`, does what is asked.
///
/// # Errors
/// Why it cannot.
pub fn line(peer: Peer, tool: &Path, setup: Setup, files: &Files) -> Result<Line, &'static str> {
    let mut words = Words::new(tool);
    let Setup { net, rootfs, binds, workload } = setup;
    let inside = Path::new("/bin").join(workload.name());
    let outside = files.workloads.join(workload.name());
    let program = if rootfs || peer.needs_rootfs() { &inside } else { &outside };
    let source = |i: usize| files.binds.join(i.to_string());
    let at = |i: usize| format!("/tmp/at/{i}");
    let note = match peer {
        Peer::Launch | Peer::LaunchPlain => {
            if net {
                words.add("--net none");
            }
            if rootfs {
                words.add("--rootfs").push(&files.rootfs).add("--dev /dev");
            }
            for i in 0..binds {
                words.add("--ro-bind").push(joined(&source(i), at(i)));
            }
            words.add("--");
            ""
        }
        Peer::TwoSteps => {
            if binds > 0 {
                return Err("binds nothing");
            }
            if net {
                words.add("--net");
            }
            if rootfs {
                words.add("--rootfs").push(&files.rootfs);
            }
            words.add("--");
            if net {
                "launch's two steps without any wall, in C: what its structure costs at least; leaves lo down"
            } else {
                "launch's two steps without any wall, in C: what its structure costs at least"
            }
        }
        Peer::TutorialStatic | Peer::Tutorial => {
            if net {
                words.add("--net");
            }
            if rootfs {
                words.add("--rootfs").push(&files.rootfs);
            }
            if binds > 0 {
                words.add("--binds").push(&files.binds).push(binds.to_string());
            }
            words.add("--");
            if net { "no PID 1 of its own; leaves lo down" } else { "no PID 1 of its own" }
        }
        Peer::Bwrap => {
            words.add("--unshare-user --unshare-ipc --unshare-pid --unshare-uts --unshare-cgroup");
            if net {
                words.add("--unshare-net");
            }
            words.add("--uid 0 --gid 0 --hostname container");
            if rootfs {
                words.add("--ro-bind").push(&files.rootfs).add("/ --dev /dev");
            } else {
                words.add("--dev-bind / /");
            }
            words.add("--proc /proc --tmpfs /tmp");
            for i in 0..binds {
                words.add("--ro-bind").push(source(i)).push(at(i));
            }
            ""
        }
        Peer::Unshare => {
            if binds > 0 {
                return Err("binds nothing");
            }
            words.add("--user --map-root-user --mount --pid --fork --uts --ipc --cgroup");
            if net {
                words.add("--net");
            }
            if rootfs {
                words.add("--root").push(&files.rootfs);
            }
            words.add("--mount-proc");
            match (net, rootfs) {
                (true, _) => "no PID 1 of its own, no /tmp, no host name; leaves lo down",
                (false, true) => "no PID 1 of its own, no /tmp, no host name, no /dev",
                (false, false) => "no PID 1 of its own, no /tmp, no host name",
            }
        }
        Peer::Hakoniwa => {
            if binds > 0 {
                return Err("not tried with binds");
            }
            words.add("run --unshare-cgroup --unshare-ipc");
            if net {
                words.add("--unshare-network");
            }
            words.add("--hostname container --tmpfs /tmp");
            if rootfs {
                words.add("--rootfs").push(&files.rootfs).add("--devfs /dev");
            } else {
                words.add("--bindmount-rw").push(joined(&files.workloads, &files.workloads));
            }
            words.add("--");
            if rootfs { "" } else { "shows some of the directories of / only" }
        }
        Peer::Minijail => {
            if binds > 0 {
                return Err("not tried with binds");
            }
            words.add("-U -m -M -p -v -r -l -N -t --uts=container");
            if net {
                words.add("-e");
            }
            if rootfs {
                words.add("-P").push(&files.rootfs).add("-d");
            }
            words.add("--");
            ""
        }
        Peer::Nsjail => {
            words.add(
                "-Mo -Q -t 0 --disable_rlimits --nice_level 0 --keep_env --proc_rw -H container -u 0 -g 0",
            );
            if rootfs {
                words.add("--chroot").push(&files.rootfs).add("-T /dev");
                for name in ["null", "zero", "full", "random", "urandom", "tty"] {
                    words.add("-B").push(format!("/dev/{name}"));
                }
            } else {
                words.add("--chroot / --rw");
            }
            words.add("-T /tmp");
            if !net {
                words.add("-N");
            }
            for i in 0..binds {
                words.add("-R").push(joined(&source(i), at(i)));
            }
            words.add("--");
            "the command is PID 1, and has no capabilities"
        }
        Peer::Crun => {
            words.add("--root").push(files.state.join("crun")).add("--cgroup-manager=disabled run --bundle");
            words.push(files.bundles.join(setup.slug())).add(ID);
            return Ok(Line {
                words: words.0,
                note: "always with a root file system of its own and a minimal /dev; the command is PID 1",
            });
        }
        Peer::Runc => {
            words.add("--root").push(files.state.join("runc")).add("run --bundle");
            words.push(files.bundles.join(setup.slug())).add(ID);
            return Ok(Line {
                words: words.0,
                note: "always with a root file system of its own, a minimal /dev and cgroups; the command is PID 1",
            });
        }
        Peer::Nspawn => {
            if binds > 0 {
                return Err("not tried with binds");
            }
            words.add(
                "--quiet --register=no --keep-unit --as-pid2 --private-users=0:65536 --hostname=container",
            );
            if net {
                words.add("--private-network");
            }
            words.add("--directory").push(&files.rootfs).add("--");
            "always with a root file system of its own and a minimal /dev"
        }
        Peer::Firejail => {
            if rootfs || binds > 0 {
                return Err("its --chroot is switched off as a rule, and it does not make what it binds to");
            }
            words.add("--quiet --noprofile --hostname=container --ipc-namespace --private-tmp");
            if net {
                words.add("--net=none");
            }
            words.add("--");
            "no user and cgroup namespace; hides files by a list of its own; starts the command by a shell"
        }
        Peer::Podman => {
            if binds > 0 {
                return Err("not tried with binds");
            }
            let state = |name: &str| files.state.join(name);
            words.add("--root").push(state("podman")).add("--runroot").push(state("podman-run"));
            words
                .add("--tmpdir")
                .push(state("podman-tmp"))
                .add("--storage-driver vfs --events-backend none run");
            words.add("--rm --ulimit host --security-opt label=disable --tmpfs /tmp --hostname container");
            words.add(if net { "--network none" } else { "--network host" });
            words.add("--rootfs").push(&files.rootfs);
            "always with a root file system of its own, a minimal /dev and cgroups; no user namespace; the command is PID 1"
        }
    };
    words.push(program);
    Ok(Line { words: words.0, note })
}

fn joined(source: &Path, at: impl AsRef<Path>) -> OsString {
    let mut value = source.as_os_str().to_owned();
    value.push(":");
    value.push(at.as_ref());
    value
}

struct Words(Vec<OsString>);

impl Words {
    fn new(tool: &Path) -> Self {
        Self(vec![tool.into()])
    }

    /// Words with blanks between them.
    fn add(&mut self, words: &str) -> &mut Self {
        self.0.extend(words.split(' ').map(OsString::from));
        self
    }

    /// One word.
    fn push(&mut self, word: impl Into<OsString>) -> &mut Self {
        self.0.push(word.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            workloads: "/w".into(),
            rootfs: "/r".into(),
            binds: "/b".into(),
            bundles: "/o".into(),
            state: "/s".into(),
        }
    }

    fn text(peer: Peer, setup: Setup) -> String {
        let tool = format!("/bin/{}", peer.name());
        line(peer, Path::new(&tool), setup, &files())
            .map_or_else(|why| format!("({why})"), |line| line.text())
    }

    #[test]
    fn a_command_line_does_what_the_case_asks() {
        let net = Setup { net: true, ..Setup::SHARED };
        let rootfs = Setup { rootfs: true, ..Setup::SHARED };
        let binds = Setup { binds: 2, ..Setup::SHARED };
        let cases = [
            (Peer::Launch, Setup::SHARED, "/bin/launch -- /w/true"),
            (Peer::Launch, net, "/bin/launch --net none -- /w/true"),
            (Peer::Launch, rootfs, "/bin/launch --rootfs /r --dev /dev -- /bin/true"),
            (Peer::Launch, binds, "/bin/launch --ro-bind /b/0:/tmp/at/0 --ro-bind /b/1:/tmp/at/1 -- /w/true"),
            (Peer::TwoSteps, Setup::SHARED, "/bin/two-steps -- /w/true"),
            (Peer::TwoSteps, net, "/bin/two-steps --net -- /w/true"),
            (Peer::TwoSteps, rootfs, "/bin/two-steps --rootfs /r -- /bin/true"),
            (Peer::TwoSteps, binds, "(binds nothing)"),
            (Peer::TutorialStatic, net, "/bin/tutorial-static --net -- /w/true"),
            (Peer::Tutorial, binds, "/bin/tutorial --binds /b 2 -- /w/true"),
            (Peer::Unshare, binds, "(binds nothing)"),
            (
                Peer::Nsjail,
                binds,
                "/bin/nsjail -Mo -Q -t 0 --disable_rlimits --nice_level 0 --keep_env --proc_rw -H container -u 0 -g 0 \
                 --chroot / --rw -T /tmp -N -R /b/0:/tmp/at/0 -R /b/1:/tmp/at/1 -- /w/true",
            ),
            (
                Peer::Crun,
                rootfs,
                "/bin/crun --root /s/crun --cgroup-manager=disabled run --bundle /o/shared-0-true {id}",
            ),
        ];
        for (peer, setup, expected) in cases {
            assert_eq!(text(peer, setup), expected, "{peer:?} {setup:?}");
        }
    }

    #[test]
    fn the_network_changes_every_command_line_and_the_workload_too() {
        for peer in ALL {
            let shared = text(peer, Setup::SHARED);
            assert_ne!(shared, text(peer, Setup { net: true, ..Setup::SHARED }), "{peer:?}");
            let glibc = Setup { workload: Workload::TrueGlibc, ..Setup::SHARED };
            assert_ne!(shared, text(peer, glibc), "{peer:?}");
        }
    }

    #[test]
    fn each_start_has_a_name_of_its_own() {
        let line = line(Peer::Crun, Path::new("crun"), Setup::SHARED, &files()).expect("a line");
        assert_ne!(line.numbered(1), line.numbered(2));
        assert!(!line.numbered(1).contains(&ID.into()));
    }

    #[test]
    fn those_that_are_compared_with_are_among_all() {
        let names: Vec<_> = ALL.iter().map(|peer| peer.name()).collect();
        assert!(OURS.iter().all(|ours| names.contains(ours)));
    }
}
