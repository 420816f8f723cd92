//! How the values of some options are read: those of mounts, of --proc-mode and of --ready.
//!
//! The others are read by spec.rs, privileges.rs, named/settings.rs and init's parse.rs.

#![forbid(unsafe_code)]

use std::ffi::OsStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use launch_init::handoff::{FileSystem, Step};
use launch_init::parse::readiness;
use launch_init::supervisor::Readiness;

use crate::plan::{Proc, Ready};
use crate::spec;

/// How it is mounted in a sandbox is the plan's to say.
pub(super) const PROC: FileSystem = FileSystem::Proc { masked: false, hide_pids: None, only_pids: false };

pub(super) fn step(
    read: impl Fn(&OsStr) -> Result<Step, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Step> {
    OsStringValueParser::new().try_map(move |text| read(&text))
}

pub(super) fn mount(text: &OsStr, what: FileSystem) -> Result<Step, String> {
    spec::path(text).map(|at| Step::Mount { what, at })
}

pub(super) fn ready(text: &OsStr) -> Result<Ready, String> {
    Ok(match readiness(text)? {
        (Readiness::Notify, _) => Ready::Notify,
        (Readiness::Descriptor(fd), _) => Ready::Descriptor(fd),
        (Readiness::Command, command) => Ready::Command(command.unwrap_or_default()),
        (Readiness::Started, _) => Ready::Started,
    })
}

pub(super) fn proc_mode(text: &str) -> Result<Proc, String> {
    let mut mode = Proc::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("subset", "pid")) => mode.only_pids = true,
            Some(("hidepid", value)) => {
                mode.hide_pids = Some(match value {
                    "0" | "off" => 0,
                    "1" | "noaccess" => 1,
                    "2" | "invisible" => 2,
                    "4" | "ptraceable" => 4,
                    _ => return Err(format!("{value:?} is none of off, noaccess, invisible, ptraceable")),
                });
            }
            _ => return Err(format!("{text:?}: say hidepid=MODE, subset=pid, or both with a comma")),
        }
    }
    Ok(mode)
}
