//! A file system that hangs, as one of the network whose server is gone. Takes root, and a kernel with FUSE.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Talk, run};

/// A mount namespace, so that what is mounted there is in no other test's way.
pub struct Mounts(Talk);

impl Mounts {
    /// Whether [`Self::hang`] is possible.
    pub fn can_hang() -> bool {
        nix::unistd::geteuid().is_root() && Path::new("/dev/fuse").exists()
    }

    #[track_caller]
    pub fn new() -> Self {
        let talk = Talk::start(Command::new("unshare").args(["--mount", "sh", "-c", "echo on; read -r _"]));
        assert_eq!(talk.hear().as_deref(), Some("on"));
        Self(talk)
    }

    /// The same command, in there; from `/`, with an empty stdin.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["--mount", "--target", &self.0.pid().to_string(), "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        inside.current_dir("/").stdin(Stdio::null());
        inside
    }

    /// Whoever looks for something in this directory waits, until he is killed or the value is dropped: the daemon answers nothing.
    #[track_caller]
    pub fn hang(&self, directory: &str) -> Hanging<'_> {
        let options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other";
        let script = format!(
            "exec 3<>/dev/fuse && mount -i -t fuse -o {options} hanging {directory} && echo on && read -r _"
        );
        let daemon = Talk::start(&mut self.inside(Command::new("sh").args(["-c", &script])));
        assert_eq!(daemon.hear().as_deref(), Some("on"));
        Hanging { daemon: Some(daemon), mounts: self, directory: directory.into() }
    }
}

pub struct Hanging<'a> {
    daemon: Option<Talk>,
    mounts: &'a Mounts,
    directory: String,
}

impl Hanging<'_> {
    /// From now on, who looks is told that it is not connected, and who waits, too.
    pub fn fail(&mut self) {
        self.daemon = None;
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.fail();
        run(&mut self.mounts.inside(Command::new("umount").args(["--lazy", &self.directory])));
    }
}
