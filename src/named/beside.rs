//! What goes on in the launcher beside the sandbox itself, where it was asked for: its monitor, its log, the files and the
//! service manager that are told of it, and who waits for it to be detached.
//!
//! Each part does its own; watch.rs asks all of them here what they wait for, and tells them what is ready.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use launch_init::exit::Outcome;
use launch_init::handoff::Happening;
use launch_init::signals;
use launch_init::supervisor::Readiness;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::unistd::Pid;

use super::detach::Launching;
use super::files::{IdFile, PidFile};
use super::life::{self, Identity};
use super::log_file::{LogFile, OUTPUT};
use super::monitor::Monitor;
use super::name::Name;
use super::output::{self, Output};
use super::registry::Registry;
use super::server;
use super::settings::Settings;
use super::systemd::Manager;
use crate::command::Command;
use crate::error::Error;
use crate::plan::Plan;
use crate::sandbox::{Event, Sandbox};

/// How long a reader of what is passed on may hold up that the end is told.
const READERS_PATIENCE: Duration = Duration::from_secs(2);

/// All of it.
#[derive(Debug, Default)]
pub struct Beside {
    /// In boxes is what most launches have none of, and what would take a page of the stack.
    monitor: Option<Box<Monitor>>,
    output: Option<Box<Output>>,
    manager: Option<Manager>,
    pid_file: Option<PidFile>,
    id_file: Option<IdFile>,
    launching: Option<Launching>,
    /// Whether who waits for it to be detached waits until it is ready.
    until_ready: bool,
    has_run: bool,
    /// Whether nobody has named it: then nobody looks for what is left of one that has never run.
    is_nameless: bool,
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A part of the monitor.
    Monitor(server::Source),
    /// A process that joins the sandbox.
    Joiner(Pid),
    /// An end of what the workload writes.
    Output(output::Side),
}

impl Beside {
    /// Nothing but who waits for it to be detached. `is_nameless`: nobody has named it.
    pub fn of(launching: Option<Launching>, is_nameless: bool) -> Self {
        Self { launching, is_nameless, ..Self::default() }
    }

    /// Makes ready what `settings` ask for, before there is anything to look after.
    ///
    /// # Errors
    /// [`Error::RuntimeDirectory`], [`Error::Sandbox`], [`Error::Log`], [`Error::LogFile`], [`Error::Pipe`],
    /// [`Error::IdFile`], [`Error::PidFile`], [`Error::Random`].
    pub fn prepare(&mut self, settings: &Settings, command: &mut Command, plan: &Plan) -> Result<(), Error> {
        self.until_ready = plan.init.policy.readiness != Readiness::Started;
        if self.until_ready {
            self.manager = Manager::of(self.launching.as_ref().map(Launching::caller));
        }
        if settings.name.is_some() || settings.id_file.is_some() || settings.log.is_some() {
            self.make_known(settings, command, plan)?;
        }
        self.pid_file = settings.pid_file.as_deref().map(PidFile::prepare).transpose()?;
        Ok(())
    }

    /// What is there for others than the caller. Apart, since it takes a page of the stack.
    #[cold]
    #[inline(never)]
    fn make_known(&mut self, settings: &Settings, command: &mut Command, plan: &Plan) -> Result<(), Error> {
        let needs_id = settings.name.is_some() || settings.id_file.is_some();
        let id = if needs_id { random_digits(32)? } else { String::new() };
        let mut log = settings.log.as_deref().map(absolute);
        if let Some(name) = &settings.name {
            let claimed = Registry::of_caller()?.claim(name)?;
            if settings.detach {
                log.get_or_insert_with(|| claimed.path().join(OUTPUT));
            }
            let identity = Identity {
                name: name.as_str().into(),
                id: id.clone(),
                labels: settings.labels.clone(),
                log: log.as_ref().map(|path| path.display().to_string()),
                monitor: (std::process::id() as i32, own_start()),
            };
            let state = life::first(identity, plan, &life::now());
            self.monitor = Some(Box::new(Monitor::begin(claimed, state, settings.removes, plan)?));
        }
        if let Some(path) = log {
            let log = LogFile::open(&path, settings.log_max_size, settings.log_max_files)?;
            let (output, ends) = Output::new(Some(log), !settings.detach)?;
            command.stdout(ends.stdout).stderr(ends.stderr);
            self.output = Some(Box::new(output));
        }
        self.id_file = settings.id_file.as_deref().map(|path| IdFile::make(path, &id)).transpose()?;
        Ok(())
    }

    /// PID 1 is there.
    pub fn cloned(&mut self, sandbox: &Sandbox) {
        if let Some(monitor) = &mut self.monitor {
            monitor.cloned(sandbox);
        }
    }

    /// Init said this.
    pub fn happened(&mut self, event: &Event) {
        // Before anybody who has waited for it is told.
        if let Some(file) = &mut self.pid_file {
            match event {
                Event::Started(started) => file.write(started.pid),
                Event::MainPid(pid) => file.write(*pid),
                Event::Happened(Happening::RunEnded { .. }) => file.remove(),
                _ => {}
            }
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.happened(event);
        }
        match event {
            Event::Started(_) => {
                self.has_run = true;
                self.id_file.iter_mut().for_each(IdFile::stay);
                self.manager.iter_mut().for_each(Manager::started);
                if !self.until_ready {
                    self.detach();
                }
            }
            Event::Happened(happening) => {
                if let Some(manager) = &mut self.manager {
                    manager.happened(happening);
                }
                if *happening == Happening::Ready {
                    self.detach();
                }
            }
            Event::MainPid(_) | Event::Terminal(_) | Event::SetUp | Event::Stopped(_) | Event::Ended(_) => {}
        }
    }

    fn detach(&mut self) {
        if let Some(launching) = self.launching.take() {
            // Whoever reads the state now finds it so.
            self.monitor.iter_mut().for_each(|monitor| monitor.write_what_changed());
            launching.succeed();
        }
    }

    /// What to wait for.
    pub fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::new();
        if let Some(monitor) = &self.monitor {
            interests.extend(
                monitor.interests().into_iter().map(|(it, fd, flags)| (Source::Monitor(it), fd, flags)),
            );
            interests.extend(monitor.joiners().map(|(pid, fd)| (Source::Joiner(pid), fd, PollFlags::POLLIN)));
        }
        if let Some(output) = &self.output {
            interests.extend(
                output.interests().into_iter().map(|(it, fd, flags)| (Source::Output(it), fd, flags)),
            );
        }
        interests
    }

    /// Does what can be done now that this is ready.
    pub fn is_ready(&mut self, source: Source, flags: PollFlags, sandbox: &Sandbox) {
        match source {
            Source::Monitor(source) => {
                if let Some(monitor) = &mut self.monitor {
                    monitor.is_ready(source, flags, sandbox);
                }
            }
            Source::Joiner(pid) => self.monitor.iter_mut().for_each(|monitor| monitor.has_ended(pid)),
            Source::Output(side) => self.output.iter_mut().for_each(|output| output.is_ready(side)),
        }
    }

    /// Whether [`Self::tick`] is wanted when the sandbox's channel is writable.
    pub fn holds_orders(&self) -> bool {
        self.monitor.as_deref().is_some_and(Monitor::holds_orders)
    }

    /// When [`Self::tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let monitor = self.monitor.as_deref().and_then(Monitor::deadline);
        let manager = self.manager.as_ref().and_then(Manager::deadline);
        let output = self.output.as_deref().and_then(Output::deadline);
        monitor.into_iter().chain(manager).chain(output).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant, sandbox: &Sandbox) {
        if let Some(monitor) = &mut self.monitor {
            monitor.tick(now, sandbox);
        }
        if let Some(manager) = &mut self.manager {
            manager.tick(now);
        }
        if let Some(output) = &mut self.output {
            output.tick(now);
        }
    }

    /// Whether a command has asked the sandbox to stop, and the shortest grace that it was given.
    pub fn asked_to_stop(&self) -> Option<Duration> {
        self.monitor.as_deref().and_then(Monitor::asked_to_stop)
    }

    /// Init is killed for that.
    pub fn is_killed(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            monitor.is_killed();
        }
    }

    /// Takes what is left of what the workload wrote, and passes it on to readers who are not slow.
    fn finish_output(&mut self) {
        let Some(output) = &mut self.output else { return };
        output.drain();
        output.flush(Some(Instant::now() + READERS_PATIENCE));
    }

    /// Passes on the rest to those who are: they shall miss nothing silently.
    fn wait_for_readers(&mut self) {
        let Some(output) = &mut self.output else { return };
        if output.has_unsent() {
            // As the workload would have waited, but from here on a signal ends us.
            let _ = signals::set_mask(0);
            output.flush(None);
        }
    }

    /// Ends all of it, when the sandbox has ended so.
    ///
    /// # Errors
    /// The same; [`Error::NotReady`]: it has ended before it was ready, and somebody waits for that.
    pub fn end(mut self, outcome: Result<Outcome, Error>) -> Result<Outcome, Error> {
        drop(self.pid_file.take());
        self.finish_output();
        let name = self.monitor.as_ref().map(|monitor| monitor.state().name.clone());
        if let Some(mut monitor) = self.monitor.take() {
            if self.is_nameless && !self.has_run {
                monitor.remove_at_end();
            }
            monitor.end(outcome.as_ref().copied());
        }
        // When the sandbox has ended for everybody else.
        self.wait_for_readers();
        let Some(launching) = self.launching else { return outcome };
        launching.fail();
        outcome.and_then(|outcome| Err(Error::NotReady(name.unwrap_or_default().into(), in_words(outcome))))
    }
}

/// The path with the caller's directory in front, which we may leave.
fn absolute(path: &Path) -> PathBuf {
    // It is none only for an empty one, or where there is no directory.
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

fn in_words(outcome: Outcome) -> String {
    let how = match outcome {
        Outcome::Exited(code) => format!("exited with {code}"),
        Outcome::Killed(signal) => format!("was killed by {}", signals::name(signal)),
        Outcome::TimedOut => "ran out of time".into(),
    };
    format!("the command {how} before it was ready")
}

/// A name for a sandbox that has been given none.
///
/// # Errors
/// [`Error::Random`]
pub fn random_name() -> Result<Name, Error> {
    let digits = random_digits(12)?;
    Name::read(digits.as_ref()).map_err(|reason| Error::Sandbox(digits.into(), reason))
}

/// So many random hexadecimal digits, an even number. See random(4).
fn random_digits(count: usize) -> Result<String, Error> {
    let mut bytes = vec![0; count / 2];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::Random(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// When this process was started. 0 where /proc does not say.
fn own_start() -> u64 {
    std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| life::start_time(&stat)).unwrap_or(0)
}
