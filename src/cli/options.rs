//! What the options of a launch come to: what is asked of the plan, and what the launcher does beside it.
//!
//! Values only, and the defaults of what is not given; whether what is asked of the plan makes sense together is
//! plan/'s to say.

#![forbid(unsafe_code)]

use std::time::Duration;

use launch_init::handoff::{Group, Step};
use launch_init::supervisor::{LONGEST_DELAY, Restart};

use super::{Cli, Form, Map, Unshare};
use crate::error::Error;
use crate::named::name::Name;
use crate::named::settings::{self, Settings};
use crate::plan::{HealthCheck, Identity, Options, Ready, RootDirectory, Seccomp, Tmp, Volatile};

/// How long those left over have by default.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// And a service that is stopped.
pub(super) const LONG_GRACE: Duration = Duration::from_secs(10);
/// Between two health checks, and for one.
pub(super) const HEALTH_TIME: Duration = Duration::from_secs(30);

impl Cli {
    /// What is asked for, in this process group.
    pub fn options(&self, group: Group) -> Options {
        Options {
            command: self.command.clone(),
            network: self.net,
            time_namespace: self.unshare.contains(&Unshare::Time),
            share: self.share.clone(),
            identity: self.identity(),
            host_name: self.hostname.clone(),
            domain_name: self.domainname.clone(),
            user: self.user.clone(),
            no_user_namespaces: self.disable_userns,
            root: self.rootfs.clone().map(|(path, writable)| RootDirectory { path: path.into(), writable }),
            read_only: self.read_only,
            volatile: match &self.keep {
                Some(directory) => Some(Volatile::Keep(directory.clone())),
                None => self.volatile.then_some(Volatile::Discard),
            },
            tmp: if self.keep_tmp { Tmp::Callers } else { Tmp::Fresh { size: self.tmp_size } },
            proc: self.proc_mode.unwrap_or_default(),
            files: self.mounts.clone(),
            directory: self.chdir.clone(),
            capabilities: self.capabilities,
            seccomp: self.seccomp.clone().unwrap_or(Seccomp::Default),
            limits: self.rlimit.clone(),
            oom_score: self.oom_score_adj,
            niceness: self.nice,
            umask: self.umask,
            clear_environment: self.clear_env,
            unset: self.unset_env.clone(),
            set: self.env.clone(),
            keep: self.keep_fd.clone(),
            grace: self.grace.unwrap_or(if self.is_named() { LONG_GRACE } else { GRACE }),
            timeout: self.timeout,
            kill_after: self.kill_after,
            stop_signal: self.stop_signal.unwrap_or(libc::SIGTERM),
            is_service: self.is_named() || self.stop_signal.is_some(),
            restart: self.restart.unwrap_or(Restart::No),
            longest_delay: self.restart_max_delay.unwrap_or(LONGEST_DELAY),
            ready: self.ready.clone().unwrap_or(Ready::Started),
            ready_timeout: self.ready_timeout,
            watchdog: self.watchdog,
            health: self.health_cmd.clone().map(|command| HealthCheck {
                command,
                interval: self.health_interval.unwrap_or(HEALTH_TIME),
                timeout: self.health_timeout.unwrap_or(HEALTH_TIME),
                retries: self.health_retries.unwrap_or(3),
                restarts: self.health_restart,
            }),
            tells: self.is_named() || self.pid_file.is_some(),
            dies_with_launcher: true,
            // It would have the terminal's signals to itself, and nobody would know that no new run shall follow.
            group: if self.restarts() && !self.tty { Group::Own { foreground: false } } else { group },
            report_namespaces: self.status_fd.is_some() || self.is_named(),
        }
    }

    /// What the sandboxes of a pool have in common.
    ///
    /// # Errors
    /// [`Error::Option`]: it is for a launch of its own.
    pub fn template(&self) -> Result<Options, Error> {
        // What makes no sense without one of these is refused here.
        self.settings()?;
        let of_one = [
            ("--name", self.name.is_some()),
            ("--detach", self.detach),
            ("--pid-file", self.pid_file.is_some()),
            ("--id-file", self.id_file.is_some()),
            ("--log", self.log.is_some()),
            ("--status-fd", self.status_fd.is_some()),
            ("--tty", self.tty),
            ("--restart", self.restart.is_some()),
            ("--ready", self.ready.is_some()),
            ("--watchdog", self.watchdog.is_some()),
            ("--health-cmd", self.health_cmd.is_some()),
            ("--explain", self.explain),
        ];
        if let Some((option, _)) = of_one.into_iter().find(|(_, is_given)| *is_given) {
            return Err(Error::Option(option.into(), "is for a launch of its own, not for a pool".into()));
        }
        let group = Group::Own { foreground: false };
        Ok(Options { dies_with_launcher: false, report_namespaces: false, ..self.options(group) })
    }

    /// What the launcher does besides carrying that out.
    ///
    /// # Errors
    /// [`Error::Option`]: it makes no sense, alone or together.
    pub fn settings(&self) -> Result<Settings, Error> {
        let wrong = |option: &str, reason: &str| Err(Error::Option(option.into(), reason.into()));
        if self.detach && self.tty {
            return wrong("--detach", "nobody is at the terminal of --tty; join it with launch exec --tty");
        }
        if self.detach && !self.keep_fd.is_empty() {
            return wrong("--detach", "nothing of the caller's stays open: leave --keep-fd out");
        }
        for (option, is_given) in [("--rm", self.rm), ("--label", !self.label.is_empty())] {
            if is_given && !self.is_named() {
                return wrong(option, "concerns a sandbox with a name: say --name or --detach");
            }
        }
        let is_logged = self.log.is_some() || self.detach;
        for (option, is_given) in [
            ("--log-max-size", self.log_max_size.is_some()),
            ("--log-max-files", self.log_max_files.is_some()),
        ] {
            if is_given && !is_logged {
                return wrong(option, "says nothing without --log or --detach");
            }
        }
        let wrong_name = |reason| Error::Option("--name".into(), reason);
        Ok(Settings {
            name: self.name.as_deref().map(Name::read).transpose().map_err(wrong_name)?,
            detach: self.detach,
            removes: self.rm,
            labels: self.label.iter().cloned().collect(),
            log: self.log.clone(),
            log_max_size: self.log_max_size.unwrap_or(settings::LOG_MAX_SIZE),
            log_max_files: self.log_max_files.unwrap_or(settings::LOG_MAX_FILES),
            pid_file: self.pid_file.clone(),
            id_file: self.id_file.clone(),
        })
    }

    /// Whether it gets a name, be it one of our choice.
    fn is_named(&self) -> bool {
        self.name.is_some() || self.detach
    }

    /// Whether the caller does not wait for its end.
    pub fn detaches(&self) -> bool {
        self.detach
    }

    /// Whether runs of the command may follow each other.
    pub fn restarts(&self) -> bool {
        self.health_restart || !matches!(self.restart, None | Some(Restart::No))
    }

    fn identity(&self) -> Identity {
        let (users, groups) = (self.map_users.clone(), self.map_groups.clone());
        match (self.map, self.keep_id, self.uid, self.gid) {
            (Some(Map::Auto), ..) => Identity::Auto,
            (None, true, ..) => Identity::Keep,
            (None, false, None, None) if users.is_empty() && groups.is_empty() => Identity::Root,
            (None, false, None, None) => Identity::Maps { users, groups },
            (None, false, uid, gid) => Identity::Ids { uid, gid },
        }
    }

    /// The descriptors that are handed on, to the workload or to the set-up.
    pub fn descriptors(&self) -> Vec<i32> {
        self.keep_fd.iter().copied().chain(self.mounts.iter().filter_map(Step::descriptor)).collect()
    }

    /// Whether the sandbox gets a terminal of its own.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// Where the status lines go.
    pub fn status_fd(&self) -> Option<i32> {
        self.status_fd
    }

    /// Whether, and how, the plan is printed instead of carried out.
    pub fn explained(&self) -> Option<Form> {
        match (self.explain, self.json) {
            (false, _) => None,
            (true, false) => Some(Form::Words),
            (true, true) => Some(Form::Json),
        }
    }

    /// How often -v was given.
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }
}
