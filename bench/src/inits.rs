//! Who is measured as PID 1, and with which command line. Nothing is run here.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;

/// A PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// The release build, by scripts/release.
    Launch,
    /// `cargo build --release`.
    LaunchPlain,
    /// Linked to libc.
    Tini,
    /// Linked statically.
    TiniStatic,
    /// Linked to libc.
    Dumb,
    /// Linked statically.
    Catatonit,
}

/// All of them, ours first.
pub const ALL: [Init; 6] =
    [Init::Launch, Init::LaunchPlain, Init::Tini, Init::TiniStatic, Init::Dumb, Init::Catatonit];

/// Whom everybody is compared with.
pub const OURS: &[&str] = &["launch-init", "launch-init-plain"];

impl Init {
    /// Its row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch-init",
            Self::LaunchPlain => "launch-init-plain",
            Self::Tini => "tini",
            Self::TiniStatic => "tini-static",
            Self::Dumb => "dumb-init",
            Self::Catatonit => "catatonit",
        }
    }
}

/// A command line that makes this program, with this workload below it, a PID 1 with the command line of its own. Somebody
/// who is not root is root in a user namespace.
pub fn line(unshare: &Path, tool: &Path, workload: &[OsString], is_root: bool) -> Vec<OsString> {
    let mut words = vec![unshare.into()];
    if !is_root {
        words.extend(["--user".into(), "--map-root-user".into()]);
    }
    words.extend(["--pid", "--fork", "--mount-proc", "--kill-child", "--"].map(OsString::from));
    words.extend([tool.into(), "--".into()]);
    words.extend_from_slice(workload);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_becomes_root_first() {
        let workload = ["hold".into()];
        let as_root = line(Path::new("unshare"), Path::new("tini"), &workload, true);
        let others = line(Path::new("unshare"), Path::new("tini"), &workload, false);
        assert_eq!(as_root[as_root.len() - 3..], ["tini", "--", "hold"]);
        assert_eq!(others[1..3], ["--user", "--map-root-user"]);
        assert_eq!(others[3..], as_root[1..]);
    }
}
