//! `launch events`: what happens to a sandbox, or to all of the caller's, as JSON lines.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::inotify::WatchDescriptor;
use nix::sys::stat::fstat;

use super::following::{Printer, cannot_follow, monitor_of, unless_closed, wait};
use crate::cli::written;
use crate::error::Error;
use crate::named::client::allow_many_descriptors;
use crate::named::events::EVENTS;
use crate::named::follow::{Follower, Watcher};
use crate::named::name::Name;
use crate::named::records::Stream;
use crate::named::registry::{Found, Registry, Standing};

/// Prints them; returns the exit status.
pub(super) fn run(registry: &Registry, options: &written::Events) -> Result<u8, Error> {
    let printed = match &options.name {
        Some(name) => of_one(registry, name, !options.no_follow),
        None => of_all(registry, !options.no_follow),
    };
    unless_closed(printed).map(|()| 0)
}

fn of_one(registry: &Registry, name: &Name, follows: bool) -> Result<(), Error> {
    let found = registry.look(name)?;
    if found.standing == Standing::Removed {
        return Err(registry.unknown(name));
    }
    let printed = print_one(&found, follows);
    // What is left of one whose monitor was killed goes, but not before it has been read.
    if found.standing == Standing::Stale {
        found.clear()?;
    }
    printed
}

fn print_one(found: &Found, follows: bool) -> Result<(), Error> {
    let mut printer = Printer::new()?;
    let mut monitor = monitor_of(found)?;
    let mut source = Source::of(found)?;
    let watcher = if follows && monitor.is_some() { Some(watcher()?) } else { None };
    if let Some(watcher) = &watcher {
        source.watch(watcher)?;
    }
    loop {
        if monitor.is_none() {
            source.follower.no_more();
        }
        print(&mut printer, [&mut source])?;
        let (Some(watcher), Some(running)) = (&watcher, &monitor) else { return Ok(()) };
        let woken = wait(watcher, Some(running.as_fd()), &printer, None)?;
        watcher.touched().map_err(Error::Wait)?;
        if woken.has_ended {
            monitor = None;
        }
        if woken.is_enough {
            return Ok(());
        }
    }
}

fn of_all(registry: &Registry, follows: bool) -> Result<(), Error> {
    allow_many_descriptors();
    let mut printer = Printer::new()?;
    let (mut sources, mut refused) = (HashMap::new(), HashSet::new());
    if !follows {
        find(registry, None, &mut sources, &mut refused)?;
        return print(&mut printer, sources.values_mut());
    }
    let watcher = watcher()?;
    let watch_all = |folder: BorrowedFd<'_>| watcher.watch(folder).map_err(|errno| all(registry, errno));
    let mut folder = registry.make_folder()?;
    let mut watched = watch_all(folder.as_fd())?;
    find(registry, Some(&watcher), &mut sources, &mut refused)?;
    print(&mut printer, sources.values_mut())?;
    loop {
        if wait(&watcher, None, &printer, None)?.is_enough {
            return Ok(());
        }
        let touched = watcher.touched().map_err(Error::Wait)?;
        let is_touched = |source: &Source| source.watched.is_none_or(|watched| touched.is(watched));
        print(&mut printer, sources.values_mut().filter(|source| is_touched(source)))?;
        if touched.is(watched) {
            // It may have been removed and made again.
            if is_removed(folder.as_fd()) {
                folder = registry.make_folder()?;
                watched = watch_all(folder.as_fd())?;
            }
            let new = find(registry, Some(&watcher), &mut sources, &mut refused)?;
            let is_new = |source: &Source| new.contains(&source.name);
            print(&mut printer, sources.values_mut().filter(|source| is_new(source)))?;
        }
    }
}

/// Where events are read.
#[derive(Debug)]
struct Source {
    name: Name,
    follower: Follower,
    watched: Option<WatchDescriptor>,
    /// The time of the last one.
    time: String,
}

impl Source {
    fn of(found: &Found) -> Result<Self, Error> {
        let directory = found.dir().try_clone_to_owned().map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Error::Sandbox(found.name().into(), errno.desc().into())
        })?;
        let (name, follower) = (found.name().clone(), Follower::new(directory, EVENTS));
        Ok(Self { name, follower, watched: None, time: String::new() })
    }

    fn watch(&mut self, watcher: &Watcher) -> Result<(), Error> {
        let watched = watcher.watch(self.follower.directory());
        let failed = |errno| Error::Sandbox((&self.name).into(), cannot_follow(errno));
        self.watched = Some(watched.map_err(failed)?);
        Ok(())
    }

    /// The next one, with its time. One without a time of its own happened with the one before it.
    fn next(&mut self) -> Result<Option<(String, Vec<u8>)>, Error> {
        let failed =
            |errno: Errno| Error::Sandbox((&self.name).into(), format!("{EVENTS}: {}", errno.desc()));
        let Some(line) = self.follower.next_line().map_err(failed)? else { return Ok(None) };
        let mut line = line.to_vec();
        if let Some(time) = time_in(&line) {
            self.time = time.into();
        }
        line.push(b'\n');
        Ok(Some((self.time.clone(), line)))
    }
}

/// The time of an event, which is the first in its line.
fn time_in(line: &[u8]) -> Option<&str> {
    let (time, _) = str::from_utf8(line).ok()?.strip_prefix("{\"time\":\"")?.split_once('"')?;
    Some(time)
}

/// Prints what the sources have, by its time.
fn print<'a>(printer: &mut Printer, sources: impl IntoIterator<Item = &'a mut Source>) -> Result<(), Error> {
    let mut sources: Vec<_> = sources.into_iter().collect();
    // Of sources with the same time always in the same order.
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    let mut next = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        next.extend(source.next()?.map(|(time, line)| Reverse((time, number, line))));
    }
    while let Some(Reverse((_, number, line))) = next.pop() {
        printer.print(Stream::Stdout, &line)?;
        next.extend(sources[number].next()?.map(|(time, line)| Reverse((time, number, line))));
    }
    printer.flush()
}

/// Brings the sources up to date with the sandboxes that are there; returns which are new. Of a folder that is `refused`
/// it is told once.
fn find(
    registry: &Registry,
    watcher: Option<&Watcher>,
    sources: &mut HashMap<Name, Source>,
    refused: &mut HashSet<Name>,
) -> Result<HashSet<Name>, Error> {
    // A folder that was removed has been read to its end.
    sources.retain(|_, source| !is_removed(source.follower.directory()));
    let names = registry.names()?.into_iter().filter(|name| !sources.contains_key(name));
    let names: Vec<_> = names.collect();
    let mut new = HashSet::new();
    for (name, found) in names.iter().zip(registry.look_at_all(&names)) {
        let found = match found {
            Ok(found) if found.standing != Standing::Removed => found,
            // It is gone already.
            Ok(_) => continue,
            Err(error) if error == registry.unknown(name) => continue,
            Err(error) => {
                if refused.insert(name.clone()) {
                    log::warn!("{error}");
                }
                continue;
            }
        };
        let mut source = Source::of(&found)?;
        if let Some(watcher) = watcher {
            source.watch(watcher)?;
        }
        sources.insert(name.clone(), source);
        new.insert(name.clone());
    }
    Ok(new)
}

fn is_removed(directory: BorrowedFd<'_>) -> bool {
    fstat(directory).is_ok_and(|status| status.st_nlink == 0)
}

fn watcher() -> Result<Watcher, Error> {
    Watcher::new().map_err(|errno| Error::Sandbox("events".into(), cannot_follow(errno)))
}

fn all(registry: &Registry, errno: Errno) -> Error {
    Error::RuntimeDirectory(registry.path().into(), cannot_follow(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_event_is_found() {
        assert_eq!(
            time_in(b"{\"time\":\"2026-11-24T21:25:00Z\",\"name\":\"a\"}"),
            Some("2026-11-24T21:25:00Z")
        );
        for line in [&b""[..], b"{}", b"{\"time\":\"2026", b"{\"time\":\"\xff\"}"] {
            assert_eq!(time_in(line), None);
        }
    }
}
