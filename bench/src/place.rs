//! Where the bench works: the folder of its files, the programs that are measured, a mount namespace of its own, and the end of
//! all that.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, getegid, geteuid};

use crate::error::Error;
use crate::figures::Machine;
use crate::inits::Init;
use crate::oci;
use crate::options::Options;
use crate::peers::{Files, Peer, Setup, Workload};
use crate::processes;

/// The folder and what is in it. Dropping it ends all processes that were started, and removes what is of this run.
#[derive(Debug)]
pub struct Place {
    /// The repository.
    pub root: PathBuf,
    /// The files of the bench.
    pub files: Files,
    /// Whether the caller is root.
    pub is_root: bool,
    dist: PathBuf,
    plain: Option<PathBuf>,
}

impl Place {
    /// In the repository that is the current directory, where bench/run has built the workloads.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let root = root()?;
        let bench = root.join("target/bench");
        if root.starts_with("/tmp") {
            return Err(Error::peer("bench", "the repository is in /tmp, which is a fresh one inside"));
        }
        if !bench.join("true").exists() {
            return Err(Error::peer("bench", "the workloads are not there; bench/run builds them"));
        }
        remove_old(&bench);
        let state = bench.join(format!("run-{}", Pid::this()));
        let files = Files {
            rootfs: bench.join("rootfs"),
            binds: bench.join("binds"),
            bundles: state.join("bundles"),
            workloads: bench,
            state,
        };
        let absolute = |path: &PathBuf| if path.is_absolute() { path.clone() } else { root.join(path) };
        let place = Self {
            dist: options.dist.as_ref().map_or_else(|| root.join("dist"), absolute),
            plain: options.plain.as_ref().map(absolute),
            is_root: geteuid().is_root(),
            files,
            root,
        };
        create(&place.files.state)?;
        place.make_rootfs()?;
        if place.is_root {
            separate()?;
        }
        Ok(place)
    }

    fn make_rootfs(&self) -> Result<(), Error> {
        // systemd-nspawn asks for usr.
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp", "usr"] {
            create(&self.files.rootfs.join(name))?;
        }
        for workload in Workload::ALL {
            let to = self.files.rootfs.join("bin").join(workload.name());
            fs::copy(self.files.workloads.join(workload.name()), &to).map_err(Error::at("copy", &to))?;
        }
        Ok(())
    }

    /// Makes what this setup needs: directories to bind, an OCI bundle.
    pub fn prepare(&self, setup: Setup) -> Result<(), Error> {
        for i in 0..setup.binds {
            create(&self.files.binds.join(i.to_string()))?;
        }
        let bundle = self.files.bundles.join(setup.slug());
        create(&bundle)?;
        let config = oci::config(setup, &self.files, geteuid().as_raw(), getegid().as_raw());
        let file = bundle.join("config.json");
        fs::write(&file, config.to_string()).map_err(Error::at("write", &file))
    }

    /// A peer's program.
    ///
    /// # Errors
    /// Why it is not measured.
    pub fn peer(&self, peer: Peer) -> Result<PathBuf, String> {
        if peer.needs_root() && !self.is_root {
            return Err("takes root".into());
        }
        match peer {
            Peer::Launch => self.released("launch"),
            Peer::LaunchPlain => self.built("launch"),
            Peer::TwoSteps | Peer::TutorialStatic | Peer::Tutorial => {
                Ok(self.files.workloads.join(peer.name()))
            }
            _ => self.installed(peer.name()),
        }
    }

    /// A PID 1's program.
    ///
    /// # Errors
    /// Why it is not measured.
    pub fn init(&self, init: Init) -> Result<PathBuf, String> {
        match init {
            Init::Launch => self.released("launch-init"),
            Init::LaunchPlain => self.built("launch-init"),
            _ => self.installed(init.name()),
        }
    }

    fn released(&self, name: &str) -> Result<PathBuf, String> {
        let file = self.dist.join(name);
        if file.is_file() { Ok(file) } else { Err("not built: scripts/release makes it".into()) }
    }

    fn built(&self, name: &str) -> Result<PathBuf, String> {
        let file = self.plain.as_ref().map(|folder| folder.join(name)).filter(|file| file.is_file());
        file.ok_or_else(|| "not built: cargo build --release makes it".into())
    }

    /// A program of somebody else, on the PATH or where bench/run --install puts it.
    pub fn installed(&self, name: &str) -> Result<PathBuf, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path)
            .chain([self.root.join("target/peers/bin")])
            .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
        let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
        found.ok_or_else(|| "not installed".into())
    }

    /// What everybody gets as environment: what a plain session has, and no more.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let home = std::env::var_os("HOME").unwrap_or_else(|| "/".into());
        vec![
            ("HOME", home),
            ("LANG", "C.UTF-8".into()),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            // podman's default limits are higher than a caller's may be.
            ("CONTAINERS_CONF", self.files.workloads.join("containers.conf").into()),
        ]
    }

    /// A text without the repository's path.
    pub fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.root.display()), "")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        processes::end_all();
        unmount_below(&self.files.state);
        if let Err(error) = fs::remove_dir_all(&self.files.state) {
            eprintln!("bench: remove: {}: {error}", self.files.state.display());
        }
    }
}

/// A mount namespace of our own, so that what is mounted by somebody who was killed is gone with us. crun 1.8 gives up where
/// cgroups of the second version are mounted beside those of the first; here they are not.
fn separate() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(Error::of("unshare", "the mount namespace"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(Error::of("make private", "/"))?;
    let second = "/sys/fs/cgroup/unified";
    if Path::new(second).join("cgroup.controllers").exists() {
        umount2(second, MntFlags::MNT_DETACH).map_err(Error::of("unmount", second))?;
    }
    Ok(())
}

fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(folder)) {
        // What is still there keeps the folder, which is told.
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

/// Folders of runs that were killed.
fn remove_old(bench: &Path) {
    let Ok(entries) = fs::read_dir(bench) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("run-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // It is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn create(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::at("create", folder))
}

/// The repository, in which bench/run has started us.
pub fn root() -> Result<PathBuf, Error> {
    std::env::current_dir().map_err(Error::of("find", "the current directory"))
}

/// What the figures depend on.
pub fn machine(is_root: bool) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let behind = |text: &str, key: &str| -> Option<String> {
        Some(text.lines().find(|line| line.starts_with(key))?.split_once(':')?.1.trim().to_owned())
    };
    let kib = behind(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    Machine {
        processor: behind(&processors, "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
        processors: processors.lines().filter(|line| line.starts_with("processor")).count(),
        memory: kib.unwrap_or(0) * 1024,
        kernel: release(&read("/proc/sys/kernel/osrelease")),
        is_virtual: behind(&processors, "flags")
            .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        caller: if is_root { "root" } else { "an ordinary user" }.into(),
        load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
    }
}

/// The numbers of a kernel's release.
fn release(text: &str) -> String {
    text.trim().split('-').next().unwrap_or_default().to_owned()
}

/// The first line that a program says about its version, without its name; empty if it says none.
pub fn version(program: &Path) -> String {
    let Ok(output) =
        Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output()
    else {
        return String::new();
    };
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn version_in(said: &str) -> String {
    let words = said.lines().next().unwrap_or_default().split_whitespace();
    let is_number = |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    words.map(|word| word.trim_matches(['(', ')', ','])).find(is_number).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number_of_the_first_line() {
        let cases = [
            ("bubblewrap 0.8.0\n", "0.8.0"),
            ("unshare from util-linux 2.38.1\n", "2.38.1"),
            ("crun version 1.8.1\ncommit: 1\n", "1.8.1"),
            ("systemd 252 (252.39-1~deb12u2)\n+PAM", "252"),
            ("dumb-init v1.2.5\n", "v1.2.5"),
            ("", ""),
        ];
        for (said, expected) in cases {
            assert_eq!(version_in(said), expected, "{said}");
        }
    }

    #[test]
    fn a_release_is_its_numbers() {
        assert_eq!(release("6.18.44-of-somebody\n"), "6.18.44");
    }
}
