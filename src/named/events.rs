//! What has happened to a named sandbox: the file `events.jsonl` in its folder, a JSON object a line, and the former file
//! beside it when that has become long.
//!
//! What is an event is monitor.rs's to say.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use serde::Serialize;
use serde_json::{Map, Value};

/// In a sandbox's folder: the newest events.
pub const EVENTS: &str = "events.jsonl";
/// Those before them.
pub const OLD_EVENTS: &str = "events.jsonl.1";

/// A file that would be longer, in bytes, is put aside.
const LONGEST: u64 = 1 << 20;

/// The events of one sandbox.
#[derive(Debug)]
pub struct Events {
    name: String,
    id: String,
    dir: OwnedFd,
    /// None: it could not be opened. That is tried again.
    file: Option<(File, u64)>,
    has_warned: bool,
}

impl Events {
    /// Those of the sandbox of this name and id, in its folder. A file that cannot be made is warned of, here and below, and
    /// no more.
    pub fn new(name: &str, id: &str, dir: OwnedFd) -> Self {
        Self { name: name.into(), id: id.into(), dir, file: None, has_warned: false }
    }

    /// Writes one down, with its details: a JSON object.
    pub fn write(&mut self, event: &str, details: Value) {
        let line = line(SystemTime::now(), &self.name, &self.id, event, details);
        match self.append(&line) {
            Ok(()) => self.has_warned = false,
            Err(errno) => {
                if !self.has_warned {
                    log::warn!("{}: {EVENTS}: {}; some events are missing there", self.name, errno.desc());
                }
                self.has_warned = true;
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> Result<(), Errno> {
        let mut opened = match self.file.take() {
            Some((_, length)) if length + line.len() as u64 > LONGEST => {
                renameat(&self.dir, EVENTS, &self.dir, OLD_EVENTS)?;
                (self.open()?, 0)
            }
            Some(opened) => opened,
            None => {
                let file = self.open()?;
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                (file, length)
            }
        };
        let written = opened.0.write_all(line).map_err(errno_of);
        match written {
            Ok(()) => opened.1 += line.len() as u64,
            // Of what does not fit nothing stays, so that every line is a whole one.
            Err(_) => opened.0.set_len(opened.1).map_err(errno_of)?,
        }
        self.file = Some(opened);
        written
    }

    fn open(&self) -> Result<File, Errno> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.dir, EVENTS, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
    }
}

fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    name: &'a str,
    id: &'a str,
    event: &'a str,
    #[serde(flatten)]
    details: Map<String, Value>,
}

/// An event as it is written.
fn line(time: SystemTime, name: &str, id: &str, event: &str, details: Value) -> Vec<u8> {
    let details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    let time = humantime::format_rfc3339_nanos(time).to_string();
    // Strings and numbers alone have nothing that cannot be written.
    let mut line = serde_json::to_vec(&Line { time, name, id, event, details }).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_a_line_with_its_time_first() {
        let bytes = line(SystemTime::UNIX_EPOCH, "web", "ab", "started", json!({ "pid": 7 }));
        let expected = "{\"time\":\"1970-01-01T00:00:00.000000000Z\",\"name\":\"web\",\"id\":\"ab\",\"event\":\"started\",\"pid\":7}\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_long_file_is_put_aside_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let dir = OwnedFd::from(File::open(folder.path()).unwrap());
        let mut events = Events::new("web", "ab", dir);
        let text = "x".repeat(1000);
        for number in 0..1500 {
            events.write("status", json!({ "number": number, "text": text }));
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let (old, new) = (read(OLD_EVENTS), read(EVENTS));
        assert!(old.len() as u64 <= LONGEST && new.len() as u64 <= LONGEST, "{} {}", old.len(), new.len());
        let numbers = old
            .lines()
            .chain(new.lines())
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64().unwrap());
        assert!(numbers.eq(0..1500));
    }
}
