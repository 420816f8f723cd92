//! Reads the lines of a file that grows and is rotated by renaming: `FILE` to `FILE.1`, and so on; each line once, whatever
//! is renamed meanwhile. A [`Watcher`] says when there may be more.

#![forbid(unsafe_code)]

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use memchr::memchr;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::Mode;

use super::log_file::numbered;

/// What is read at once.
const CHUNK: usize = 64 << 10;
/// What has no end after so many bytes is shown without one.
const LONGEST_LINE: usize = 1 << 20;

/// A file, and those that it was rotated to.
#[derive(Debug)]
pub struct Follower {
    directory: OwnedFd,
    name: OsString,
    /// The oldest first. All but the last are written to no more.
    files: VecDeque<Open>,
    /// What has been read of the first and not been given out: from here on.
    buffer: Vec<u8>,
    start: usize,
    is_over: bool,
    has_missed: bool,
}

/// An open file: as long as it is open, no other has its inode number.
#[derive(Debug)]
struct Open {
    file: File,
    id: (u64, u64),
    /// Where the first line begins that has not been given out.
    offset: u64,
}

impl Follower {
    /// Of the file of this name, which need not be there yet, and the older ones beside it.
    pub fn new(directory: OwnedFd, name: impl Into<OsString>) -> Self {
        Self {
            directory,
            name: name.into(),
            files: VecDeque::new(),
            buffer: Vec::new(),
            start: 0,
            is_over: false,
            has_missed: false,
        }
    }

    /// Where the file is.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// No more will be written. What has no line's end by now is a line, too.
    pub fn no_more(&mut self) {
        self.is_over = true;
    }

    /// Whether there was a file at all.
    pub fn has_found(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether files were rotated away before they could be read, once.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.has_missed)
    }

    /// The next line, without its end; none: there is no more for now.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Errno> {
        let line = loop {
            if let Some(end) = memchr(b'\n', &self.buffer[self.start..]) {
                break self.give_out(end, 1);
            }
            let rest = self.buffer.len() - self.start;
            if rest >= LONGEST_LINE {
                break self.give_out(rest, 0);
            }
            if self.fill()? {
                continue;
            }
            if self.files.len() < 2 && self.discover()? {
                // It may have grown before the new one was made.
                continue;
            }
            let is_final = self.files.len() > 1 || self.is_over;
            let rest = self.buffer.len() - self.start;
            if is_final && rest > 0 {
                break self.give_out(rest, 0);
            }
            // A part of a line may be taken back, and is read again.
            self.buffer.clear();
            self.start = 0;
            if self.files.len() < 2 {
                return Ok(None);
            }
            self.files.pop_front();
        };
        Ok(Some(&self.buffer[line]))
    }

    fn give_out(&mut self, length: usize, end: usize) -> std::ops::Range<usize> {
        let line = self.start..self.start + length;
        self.start = line.end + end;
        if let Some(open) = self.files.front_mut() {
            open.offset += (length + end) as u64;
        }
        line
    }

    /// Reads on in the first file; whether there was more.
    fn fill(&mut self) -> Result<bool, Errno> {
        let Some(open) = self.files.front_mut() else { return Ok(false) };
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + CHUNK, 0);
        let read = open.file.read_at(&mut self.buffer[have..], open.offset + have as u64);
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        let length = read.map_err(io_errno)?;
        // Somebody else has cut it.
        if length == 0 && open.file.metadata().map_err(io_errno)?.len() < open.offset {
            open.offset = 0;
            self.buffer.clear();
            return Ok(true);
        }
        Ok(length > 0)
    }

    /// Opens the files that are newer than the last one that we know; whether there are any.
    fn discover(&mut self) -> Result<bool, Errno> {
        loop {
            let known = self.files.back().map(|open| open.id);
            let newest = self.open(0)?;
            let id = newest.as_ref().map(|open| open.id);
            if id.is_some() && id == known {
                return Ok(false);
            }
            let mut found: Vec<_> = newest.into_iter().collect();
            let (mut number, mut missing, mut meets_known) = (1, 0, false);
            // In the middle of a rotation there is a gap of one.
            while missing < 2 && !meets_known {
                match self.open(number)? {
                    None => missing += 1,
                    Some(open) if Some(open.id) == known => meets_known = true,
                    Some(open) => {
                        missing = 0;
                        // One that has just been renamed is met twice.
                        if found.last().is_none_or(|last: &Open| last.id != open.id) {
                            found.push(open);
                        }
                    }
                }
                number += 1;
            }
            if self.open(0)?.map(|open| open.id) != id {
                // Rotated meanwhile.
                continue;
            }
            self.has_missed |= known.is_some() && !meets_known && found.len() > 1;
            let has_found = !found.is_empty();
            self.files.extend(found.into_iter().rev());
            return Ok(has_found);
        }
    }

    fn open(&self, number: u32) -> Result<Option<Open>, Errno> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let name = numbered(&self.name, number);
        let file = match openat(&self.directory, name.as_os_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let metadata = file.metadata().map_err(io_errno)?;
        // Whatever it is, it is none of ours.
        let is_file = metadata.is_file();
        Ok(is_file.then_some(Open { file, id: (metadata.dev(), metadata.ino()), offset: 0 }))
    }
}

/// Says when something happens in directories. See inotify(7).
#[derive(Debug)]
pub struct Watcher(Inotify);

/// Where something has happened.
#[derive(Debug, Default)]
pub struct Touched {
    /// More has happened than the kernel could keep: it may be anywhere.
    anywhere: bool,
    watched: HashSet<WatchDescriptor>,
}

impl Touched {
    /// Whether it is there.
    pub fn is(&self, directory: WatchDescriptor) -> bool {
        self.anywhere || self.watched.contains(&directory)
    }
}

impl Watcher {
    /// Of nothing yet.
    ///
    /// # Errors
    /// As inotify_init(2).
    pub fn new() -> Result<Self, Errno> {
        Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map(Self)
    }

    /// Of this directory too.
    ///
    /// # Errors
    /// As inotify_add_watch(2).
    pub fn watch(&self, directory: BorrowedFd<'_>) -> Result<WatchDescriptor, Errno> {
        let what = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        self.0.add_watch(path.as_str(), what)
    }

    /// What has happened since this was asked last; it does not wait.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub fn touched(&self) -> Result<Touched, Errno> {
        let mut touched = Touched::default();
        loop {
            match self.0.read_events() {
                Ok(events) => {
                    for event in events {
                        touched.anywhere |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                        touched.watched.insert(event.wd);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(touched),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn io_errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;
    use std::time::Instant;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use tempfile::TempDir;

    use super::*;
    use crate::named::log_file::LogFile;
    use crate::named::records::{Stream, parse};

    fn follower(folder: &Path) -> Follower {
        Follower::new(File::open(folder).expect("open").into(), "log")
    }

    fn append(folder: &TempDir, text: &str) {
        let path = folder.path().join("log");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("open");
        file.write_all(text.as_bytes()).expect("write");
    }

    fn rename(folder: &TempDir, from: &str, to: &str) {
        fs::rename(folder.path().join(from), folder.path().join(to)).expect("rename");
    }

    fn lines(follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = follower.next_line().expect("line") {
            lines.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        lines
    }

    #[test]
    fn older_files_come_first_and_a_line_without_end_last() {
        let folder = TempDir::new().expect("folder");
        for (name, content) in [("log.2", "1\n"), ("log.1", "2\n3"), ("log", "4\n5"), ("log.5", "no\n")] {
            fs::write(folder.path().join(name), content).expect("write");
        }
        let mut follower = follower(folder.path());
        assert_eq!(lines(&mut follower), ["1", "2", "3", "4"]);
        append(&folder, "6\n");
        assert_eq!(lines(&mut follower), ["56"]);
        append(&folder, "7");
        assert_eq!(lines(&mut follower), [""; 0]);
        follower.no_more();
        assert_eq!(lines(&mut follower), ["7"]);
        assert_eq!(lines(&mut follower), [""; 0]);
    }

    #[test]
    fn a_file_that_is_rotated_is_read_to_its_end_and_then_the_new_ones() {
        let folder = TempDir::new().expect("folder");
        let mut follower = follower(folder.path());
        assert_eq!(lines(&mut follower), [""; 0]);
        append(&folder, "1\n");
        assert_eq!(lines(&mut follower), ["1"]);
        append(&folder, "2\n");
        rename(&folder, "log", "log.1");
        assert_eq!(lines(&mut follower), ["2"]);
        append(&folder, "3\n");
        rename(&folder, "log.1", "log.2");
        rename(&folder, "log", "log.1");
        append(&folder, "4\n");
        assert_eq!(lines(&mut follower), ["3", "4"]);
        assert!(!follower.take_missed());
        // More often than files are kept.
        for text in ["5\n", "6\n", "7\n", "8\n"] {
            append(&folder, text);
            rename(&folder, "log.1", "log.2");
            rename(&folder, "log", "log.1");
        }
        append(&folder, "9\n");
        assert_eq!(lines(&mut follower), ["5", "7", "8", "9"]);
        assert!(follower.take_missed() && !follower.take_missed());
    }

    #[test]
    fn each_line_comes_once_however_fast_the_files_are_rotated() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("log");
        let writing = std::thread::spawn(move || {
            let mut log = LogFile::open(&path, 1000, 10_000).expect("log");
            for number in 0..3_000 {
                log.append(Stream::Stdout, format!("{number}\n").as_bytes(), Instant::now());
            }
        });
        let mut follower = follower(folder.path());
        let mut numbers = Vec::new();
        loop {
            // In this order: what it wrote before its end is read.
            let is_over = writing.is_finished();
            for line in lines(&mut follower) {
                let record = parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
                numbers.push(str::from_utf8(record.text).expect("text").parse::<u32>().expect("a number"));
            }
            if is_over {
                break;
            }
        }
        writing.join().expect("thread");
        assert!(numbers.iter().copied().eq(0..3_000), "{} numbers", numbers.len());
        assert!(!follower.take_missed());
    }

    #[test]
    fn what_is_taken_back_or_cut_is_read_anew() {
        let folder = TempDir::new().expect("folder");
        let mut follower = follower(folder.path());
        append(&folder, "1\n2 torn");
        assert_eq!(lines(&mut follower), ["1"]);
        let file = fs::OpenOptions::new().write(true).open(folder.path().join("log")).expect("open");
        file.set_len(2).expect("cut");
        append(&folder, "2 whole\n");
        assert_eq!(lines(&mut follower), ["2 whole"]);
        file.set_len(0).expect("cut");
        append(&folder, "3\n");
        assert_eq!(lines(&mut follower), ["3"]);
    }

    #[test]
    fn a_line_that_never_ends_is_shown_in_pieces() {
        let folder = TempDir::new().expect("folder");
        append(&folder, &"x".repeat(3 * LONGEST_LINE));
        let mut follower = follower(folder.path());
        let length: usize = lines(&mut follower).iter().map(String::len).sum();
        assert!(length >= 2 * LONGEST_LINE);
        follower.no_more();
        let rest: usize = lines(&mut follower).iter().map(String::len).sum();
        assert_eq!(length + rest, 3 * LONGEST_LINE);
    }

    #[test]
    fn a_watcher_says_where_something_has_happened() {
        let (one, two) = (TempDir::new().expect("folder"), TempDir::new().expect("folder"));
        let watcher = Watcher::new().expect("watcher");
        let watch = |folder: &TempDir| {
            watcher.watch(File::open(folder.path()).expect("open").as_fd()).expect("watch")
        };
        let (first, second) = (watch(&one), watch(&two));
        append(&two, "1\n");
        let mut polled = [PollFd::new(watcher.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::from(60_000_u16)), Ok(1));
        let touched = watcher.touched().expect("read");
        assert!(!touched.is(first) && touched.is(second));
        assert!(!watcher.touched().expect("read").is(second));
    }
}
