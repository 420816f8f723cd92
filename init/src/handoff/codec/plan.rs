//! The form of the plan, with that of the policy, and of what a joining process is told.
//!
//! Steps are in steps.rs, and the parts of a workload in workload.rs.

#![forbid(unsafe_code)]

use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::values::{Reader, Writer};
use super::{Malformed, first_body};
use crate::handoff::{CapabilitySets, Descriptors, Group, Join, Limit, Plan, Probes, Workload};
use crate::supervisor::{Health, Leftovers, Policy, Readiness, Restart, Rewrites};

/// That of a usual launch, in bytes, most of it the environment and the filter.
const ROOM_FOR_A_PLAN: usize = 4096;

impl Plan {
    /// The whole frame.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`]: no kernel takes so many arguments.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        self.encode_with(self.is_on_one_processor)
    }

    /// The same with another `is_on_one_processor`: whether init can be kept on one is seen when it starts, and for what was planned
    /// nobody needs a copy with another answer.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with(&self, is_on_one_processor: bool) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame_of(ROOM_FOR_A_PLAN);
        w.u8(self.log_level);
        w.list(&self.steps, Writer::step);
        w.list(&self.workload.command, |w, s| w.bytes(s.as_bytes()));
        w.list(&self.workload.environment, |w, s| w.bytes(s.as_bytes()));
        w.signal_state(self.workload.signals);
        let keep = match &self.workload.descriptors {
            Descriptors::Inherited => None,
            Descriptors::Only(keep) => Some(keep),
        };
        w.option(keep, |w, keep| w.list(keep, |w, fd| w.i32(*fd)));
        w.u8(match self.workload.group {
            Group::Callers => 0,
            Group::Own { foreground: false } => 1,
            Group::Own { foreground: true } => 2,
            Group::Session => 3,
        });
        w.option(self.workload.user.as_ref(), Writer::account);
        w.option(self.workload.parent_death_signal, Writer::i32);
        w.option(self.workload.capabilities, |w, sets| {
            w.u64(sets.allowed);
            w.u64(sets.ambient);
        });
        w.bool(self.workload.no_new_privileges);
        w.list(&self.workload.filters, |w, filter| w.filter(filter));
        w.list(&self.workload.limits, |w, limit| {
            w.u32(limit.resource);
            w.u64(limit.soft);
            w.u64(limit.hard);
        });
        w.option(self.workload.oom_score, Writer::i32);
        w.option(self.workload.niceness, Writer::i32);
        w.option(self.workload.umask, Writer::u32);
        w.duration(self.policy.grace);
        w.option(self.policy.timeout, Writer::duration);
        w.option(self.policy.kill_after, Writer::duration);
        w.duration(self.policy.forward_delay);
        w.u8(match self.policy.leftovers {
            Leftovers::End => 0,
            Leftovers::WaitFor => 1,
            Leftovers::Leave => 2,
            Leftovers::Tell => 3,
        });
        let rewrites: Vec<_> = self.policy.rewrites.changed().collect();
        w.list(&rewrites, |w, (from, to)| {
            w.u8(*from);
            w.u8(*to);
        });
        w.u8(self.policy.stop_signal as u8);
        w.bool(self.policy.term_stops);
        w.restart(self.policy.restart);
        w.duration(self.policy.longest_delay);
        match self.policy.readiness {
            Readiness::Started => w.u8(0),
            Readiness::Notify => w.u8(1),
            Readiness::Descriptor(number) => {
                w.u8(2);
                w.i32(number);
            }
            Readiness::Command => w.u8(3),
        }
        w.option(self.policy.ready_timeout, Writer::duration);
        w.option(self.policy.watchdog, Writer::duration);
        w.option(self.policy.health, |w, health| {
            w.duration(health.interval);
            w.duration(health.timeout);
            w.u32(health.retries);
            w.bool(health.restarts);
        });
        w.bool(self.policy.tells);
        w.bool(self.policy.dies_with_launcher);
        w.option(self.probes.ready.as_ref(), Writer::os_string);
        w.option(self.probes.health.as_ref(), Writer::os_string);
        w.bool(self.report_namespaces);
        w.bool(is_on_one_processor);
        w.bool(self.ahead);
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let plan = Self {
            log_level: r.u8()?,
            steps: r.list(Reader::step)?,
            workload: Workload {
                command: r.list(Reader::os_string)?,
                environment: r.list(Reader::os_string)?,
                signals: r.signal_state()?,
                descriptors: match r.option(|r| r.list(Reader::i32))? {
                    None => Descriptors::Inherited,
                    Some(keep) => Descriptors::Only(keep),
                },
                group: match r.u8()? {
                    0 => Group::Callers,
                    1 => Group::Own { foreground: false },
                    2 => Group::Own { foreground: true },
                    3 => Group::Session,
                    _ => return Err(Malformed::Body),
                },
                user: r.option(Reader::account)?,
                parent_death_signal: r.option(Reader::i32)?,
                capabilities: r.option(|r| Ok(CapabilitySets { allowed: r.u64()?, ambient: r.u64()? }))?,
                no_new_privileges: r.bool()?,
                filters: r.list(Reader::filter)?,
                limits: r.list(|r| Ok(Limit { resource: r.u32()?, soft: r.u64()?, hard: r.u64()? }))?,
                oom_score: r.option(Reader::i32)?,
                niceness: r.option(Reader::i32)?,
                umask: r.option(Reader::u32)?,
            },
            policy: Policy {
                grace: r.duration()?,
                timeout: r.option(Reader::duration)?,
                kill_after: r.option(Reader::duration)?,
                forward_delay: r.duration()?,
                leftovers: match r.u8()? {
                    0 => Leftovers::End,
                    1 => Leftovers::WaitFor,
                    2 => Leftovers::Leave,
                    3 => Leftovers::Tell,
                    _ => return Err(Malformed::Body),
                },
                rewrites: r.rewrites()?,
                stop_signal: r.signal()?,
                term_stops: r.bool()?,
                restart: r.restart()?,
                longest_delay: r.duration()?,
                readiness: match r.u8()? {
                    0 => Readiness::Started,
                    1 => Readiness::Notify,
                    2 => Readiness::Descriptor(r.i32()?),
                    3 => Readiness::Command,
                    _ => return Err(Malformed::Body),
                },
                ready_timeout: r.option(Reader::duration)?,
                watchdog: r.option(Reader::duration)?,
                health: r.option(|r| {
                    Ok(Health {
                        interval: r.duration()?,
                        timeout: r.duration()?,
                        retries: r.u32()?,
                        restarts: r.bool()?,
                    })
                })?,
                tells: r.bool()?,
                dies_with_launcher: r.bool()?,
            },
            probes: Probes { ready: r.option(Reader::os_string)?, health: r.option(Reader::os_string)? },
            report_namespaces: r.bool()?,
            is_on_one_processor: r.bool()?,
            ahead: r.bool()?,
        };
        if plan.workload.command.is_empty() != plan.ahead {
            return Err(Malformed::Body);
        }
        r.finish(plan)
    }
}

impl Join {
    /// The whole frame.
    ///
    /// # Errors
    /// As [`Plan::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::frame();
        w.os_string(&self.sandbox);
        w.i32(self.init);
        w.u64(self.namespaces);
        w.bool(self.time_namespace);
        w.bool(self.own_root);
        w.option(self.user, Writer::u32);
        w.option(self.group, Writer::u32);
        w.bool(self.leaves_groups);
        w.bytes(&self.plan.encode()?);
        w.finish()
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed::Body`]
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let join = Self {
            sandbox: r.os_string()?,
            init: r.i32()?,
            namespaces: r.u64()?,
            time_namespace: r.bool()?,
            own_root: r.bool()?,
            user: r.option(Reader::u32)?,
            group: r.option(Reader::u32)?,
            leaves_groups: r.bool()?,
            plan: {
                let frame = r.os_string()?.into_vec();
                let body = first_body(&frame)?.ok_or(Malformed::Body)?;
                Plan::decode(body)?
            },
        };
        r.finish(join)
    }
}

impl Writer {
    fn restart(&mut self, restart: Restart) {
        match restart {
            Restart::No => self.u8(0),
            Restart::OnFailure { most } => {
                self.u8(1);
                self.option(most, Self::u32);
            }
            Restart::Always => self.u8(2),
            Restart::UnlessStopped => self.u8(3),
        }
    }
}

impl Reader<'_> {
    fn restart(&mut self) -> Result<Restart, Malformed> {
        Ok(match self.u8()? {
            0 => Restart::No,
            1 => Restart::OnFailure { most: self.option(Self::u32)? },
            2 => Restart::Always,
            3 => Restart::UnlessStopped,
            _ => return Err(Malformed::Body),
        })
    }

    fn rewrites(&mut self) -> Result<Rewrites, Malformed> {
        let mut rewrites = Rewrites::default();
        for (from, to) in self.list(|r| Ok((r.u8()?, r.u8()?)))? {
            rewrites.set(from.into(), to.into());
        }
        Ok(rewrites)
    }
}
