//! What the workload writes: from the pipes that are its stdout and stderr into the log, and on to the caller's own stdout
//! and stderr.
//!
//! Neither a full disk nor a slow or dead reader holds up the workload, nor the loop that this is a part of.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;

use super::log_file::LogFile;
use super::records::Stream;
use crate::error::Error;

/// What is read at once: all that a pipe has, as it is made.
const CHUNK: usize = 64 << 10;
/// At most so much waits for the reader of each of the caller's descriptors.
const BUFFER: usize = 1 << 20;
/// What a descriptor that would block takes without doing so when it is ready; see pipe(7), PIPE_BUF.
const SMALL: usize = 4096;

/// One that [`Output`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The workload has written.
    Inside(Stream),
    /// The caller's descriptor takes more.
    Outside(Stream),
}

/// The ends that the workload gets.
#[derive(Debug)]
pub struct Ends {
    /// Its stdout.
    pub stdout: OwnedFd,
    /// Its stderr.
    pub stderr: OwnedFd,
}

/// Both streams.
#[derive(Debug)]
pub struct Output {
    /// The ends that are read, non-blocking; none after the end of file.
    inside: [Option<File>; 2],
    /// The caller's, if they get it too and somebody still reads.
    outside: [Option<Reader>; 2],
    log: Option<LogFile>,
    chunk: Vec<u8>,
}

impl Output {
    /// Into this log, if there is one, and on to the caller's own stdout and stderr if it `passes_on`. The ends are for the
    /// workload alone: nobody else may hold them when it runs.
    ///
    /// # Errors
    /// [`Error::Pipe`]
    #[cold]
    pub fn new(log: Option<LogFile>, passes_on: bool) -> Result<(Self, Ends), Error> {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let outside = if passes_on { [Some(stdout.as_fd()), Some(stderr.as_fd())] } else { [None, None] };
        Self::between(log, outside)
    }

    /// The same, with descriptors to pass on to; copies of them are kept.
    ///
    /// # Errors
    /// [`Error::Pipe`]
    pub fn between(
        log: Option<LogFile>,
        outside: [Option<BorrowedFd<'_>>; 2],
    ) -> Result<(Self, Ends), Error> {
        let (stdout, stdout_end) = pipe().map_err(Error::Pipe)?;
        let (stderr, stderr_end) = pipe().map_err(Error::Pipe)?;
        let outside = outside.map(|fd| fd.and_then(Reader::new));
        let output = Self { inside: [Some(stdout), Some(stderr)], outside, log, chunk: vec![0; CHUNK] };
        Ok((output, Ends { stdout: stdout_end, stderr: stderr_end }))
    }

    /// What to wait for.
    pub fn interests(&self) -> Vec<(Side, BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::with_capacity(4);
        for stream in Stream::ALL {
            if let Some(inside) = &self.inside[stream as usize] {
                interests.push((Side::Inside(stream), inside.as_fd(), PollFlags::POLLIN));
            }
            if let Some(outside) = &self.outside[stream as usize]
                && !outside.waiting.is_empty()
            {
                interests.push((Side::Outside(stream), outside.file.as_fd(), PollFlags::POLLOUT));
            }
        }
        interests
    }

    /// Moves what can be moved now that `side` is ready.
    pub fn is_ready(&mut self, side: Side) {
        match side {
            Side::Inside(stream) => drop(self.read(stream)),
            Side::Outside(stream) => self.pass_on(stream),
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.log.as_ref()?.deadline()
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: Instant) {
        if let Some(log) = &mut self.log {
            log.tick(now);
        }
        self.tell_warning();
    }

    /// Takes what is there when everybody inside has ended. Somebody outside may have been given an end and go on writing:
    /// no more is taken than a pipe holds.
    #[cold]
    pub fn drain(&mut self) {
        for stream in Stream::ALL {
            let Some(inside) = &self.inside[stream as usize] else { continue };
            // The workload may have made it larger.
            let mut left = fcntl(inside, FcntlArg::F_GETPIPE_SZ).map_or(CHUNK, |size| size as usize);
            while left > 0 {
                match self.read(stream) {
                    0 => break,
                    length => left = left.saturating_sub(length),
                }
            }
            self.inside[stream as usize] = None;
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
        self.tell_warning();
        // The next one's, who need not wait for our readers.
        self.log = None;
    }

    /// Whether the caller's descriptors have not taken all yet.
    pub fn has_unsent(&self) -> bool {
        self.outside.iter().flatten().any(|reader| !reader.waiting.is_empty())
    }

    /// Waits until the caller's descriptors have taken all, or their readers are gone; at most until then.
    #[cold]
    pub fn flush(&mut self, until: Option<Instant>) {
        while self.has_unsent() {
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                // Rounded up: not to turn around in the last millisecond.
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
            });
            let sides: Vec<_> = self.interests().into_iter().filter(|(side, ..)| is_outside(*side)).collect();
            let mut polled: Vec<_> = sides.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
            let count = poll(&mut polled, timeout);
            let ready: Vec<_> = polled
                .iter()
                .zip(&sides)
                .filter(|(fd, _)| fd.any() == Some(true))
                .map(|(_, (side, ..))| *side)
                .collect();
            match count {
                Ok(0) => return,
                Ok(_) | Err(Errno::EINTR) => ready.into_iter().for_each(|side| self.is_ready(side)),
                Err(_) => return,
            }
        }
    }

    /// How much came. At the end of file, the stream is let go of.
    fn read(&mut self, stream: Stream) -> usize {
        let Some(inside) = &mut self.inside[stream as usize] else { return 0 };
        let length = match inside.read(&mut self.chunk) {
            Ok(length) if length > 0 => length,
            Err(error) if is_transient(&error) => return 0,
            Ok(_) | Err(_) => {
                self.inside[stream as usize] = None;
                return 0;
            }
        };
        let came = &self.chunk[..length];
        if let Some(log) = &mut self.log {
            log.append(stream, came, Instant::now());
        }
        let has_log = self.log.is_some();
        if let Some(outside) = &mut self.outside[stream as usize]
            && !outside.take(came)
        {
            let kept = if has_log { "what it missed is in the log alone" } else { "it misses something" };
            self.warn(&format!("{}: its reader is slow: {kept}", stream.name()));
        }
        self.pass_on(stream);
        self.tell_warning();
        length
    }

    fn pass_on(&mut self, stream: Stream) {
        let Some(reader) = &mut self.outside[stream as usize] else { return };
        let Err(errno) = reader.pass_on() else { return };
        self.outside[stream as usize] = None;
        // Who went away wants no more. Anything else is for somebody to mend.
        if errno != Errno::EPIPE {
            self.warn(&format!("{}: {}; nothing more is passed on", stream.name(), errno.desc()));
        }
    }

    fn tell_warning(&mut self) {
        if let Some(warning) = self.log.as_mut().and_then(LogFile::take_warning) {
            self.warn(&warning);
        }
    }

    /// Behind what waits for the reader of stderr, if that could hold us up.
    fn warn(&mut self, warning: &str) {
        match &mut self.outside[Stream::Stderr as usize] {
            Some(reader) => {
                let line = format!("launch: warning: {}\n", crate::printable(warning));
                reader.waiting.extend(line.as_bytes());
                self.pass_on(Stream::Stderr);
            }
            None => log::warn!("{warning}"),
        }
    }
}

/// Somebody outside who reads a stream.
#[derive(Debug)]
struct Reader {
    file: File,
    /// Whether a write could wait.
    blocks: bool,
    is_socket: bool,
    waiting: VecDeque<u8>,
    /// Whether it is so slow that it gets nothing for now.
    skips: bool,
    /// Whether it has been told that something is missing.
    has_missed: bool,
}

impl Reader {
    /// None where the descriptor is not open.
    fn new(fd: BorrowedFd<'_>) -> Option<Self> {
        let file = File::from(fd.try_clone_to_owned().ok()?);
        let kind = file.metadata().ok()?.file_type();
        // Others may have the same open file, so it is not ours to make non-blocking. A new one, of the same pipe or
        // terminal, is.
        let opened = if kind.is_fifo() || kind.is_char_device() {
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
        } else {
            None
        };
        let is_socket = kind.is_socket();
        let blocks = opened.is_none() && !is_socket && !kind.is_file();
        let file = opened.unwrap_or(file);
        Some(Self { file, blocks, is_socket, waiting: VecDeque::new(), skips: false, has_missed: false })
    }

    /// Has it wait, if there is place. False where there isn't, the first time.
    fn take(&mut self, bytes: &[u8]) -> bool {
        // What is missing shall be missing in one piece, not here and there.
        self.skips = self.waiting.len() + bytes.len() > if self.skips { BUFFER / 2 } else { BUFFER };
        if self.skips {
            return std::mem::replace(&mut self.has_missed, true);
        }
        self.waiting.extend(bytes);
        true
    }

    /// Writes what can be written now; an error when nothing more ever can.
    fn pass_on(&mut self) -> Result<(), Errno> {
        while !self.waiting.is_empty() {
            match self.write() {
                Ok(0) => break,
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> std::io::Result<usize> {
        let bytes = self.waiting.as_slices().0;
        if self.is_socket {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            return Ok(send(self.file.as_raw_fd(), bytes, flags)?);
        }
        if !self.blocks {
            return self.file.write(bytes);
        }
        let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(0) => Ok(0),
            Ok(_) => self.file.write(&bytes[..bytes.len().min(SMALL)]),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn is_outside(side: Side) -> bool {
    matches!(side, Side::Outside(_))
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A pipe whose read end does not block; the workload's end does.
fn pipe() -> Result<(File, OwnedFd), Errno> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // Many servers open /dev/stdout anew, and may be another user than we are. Whoever comes to it through
    // /proc/PID/fd may trace that process, and have its descriptors anyway.
    fchmod(&write, Mode::from_bits_truncate(0o622))?;
    Ok((read.into(), write))
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::os::unix::net::UnixStream;

    use tempfile::TempDir;

    use super::*;

    /// Has everything moved that can be, until nothing is ready any more.
    fn turn(output: &mut Output) {
        loop {
            let interests = output.interests();
            let mut polled: Vec<_> =
                interests.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
            poll(&mut polled, PollTimeout::ZERO).expect("poll");
            let ready: Vec<_> = polled
                .iter()
                .zip(&interests)
                .filter(|(fd, _)| fd.any() == Some(true))
                .map(|(_, (side, ..))| *side)
                .collect();
            if ready.is_empty() {
                return;
            }
            ready.into_iter().for_each(|side| output.is_ready(side));
        }
    }

    fn log() -> (TempDir, LogFile) {
        let folder = TempDir::new().expect("folder");
        let log = LogFile::open(&folder.path().join("log"), u64::MAX, 1).expect("log");
        (folder, log)
    }

    /// What is in the log: `stream:text`.
    fn logged(folder: &TempDir) -> Vec<String> {
        let content = std::fs::read(folder.path().join("log")).expect("log");
        let records = content.lines().map_while(Result::ok);
        records
            .map(|line| {
                let record = crate::named::records::parse(line.as_bytes()).expect("a record");
                format!("{}:{}", record.stream.name(), String::from_utf8_lossy(record.text))
            })
            .collect()
    }

    #[test]
    fn what_is_written_goes_into_the_log_and_on() {
        let (folder, log) = log();
        let (mut reader, outside) = std::io::pipe().expect("pipe");
        let (mut output, ends) = Output::between(Some(log), [Some(outside.as_fd()), None]).expect("output");
        drop(outside);
        let (mut stdout, mut stderr) = (File::from(ends.stdout), File::from(ends.stderr));
        stdout.write_all(b"one\ntwo").expect("write");
        turn(&mut output);
        stderr.write_all(b"three\n").expect("write");
        // Somebody has an end still: it is not waited for.
        output.drain();
        stdout.write_all(b"too late").expect_err("nobody reads");
        assert!(!output.has_unsent());
        drop(output);
        let mut passed = String::new();
        reader.read_to_string(&mut passed).expect("read");
        assert_eq!(passed, "one\ntwo");
        assert_eq!(logged(&folder), ["stdout:one", "stderr:three", "stdout:two"]);
    }

    #[test]
    fn a_reader_who_reads_nothing_holds_nobody_up_and_learns_that_it_missed_something() {
        let whole = vec![b'x'; 8 << 20];
        // A pipe that can be opened anew; a socket, which cannot.
        let pipes = || {
            let (reader, outside) = std::io::pipe().expect("pipe");
            (OwnedFd::from(reader), OwnedFd::from(outside))
        };
        let sockets = || {
            let (reader, outside) = UnixStream::pair().expect("pair");
            (OwnedFd::from(reader), OwnedFd::from(outside))
        };
        for (reader, outside) in [pipes(), sockets()] {
            let (_folder, log) = log();
            let outside_fd = Some(outside.as_fd());
            let (mut output, ends) = Output::between(Some(log), [None, outside_fd]).expect("output");
            drop(outside);
            let mut stderr = File::from(ends.stderr);
            for chunk in whole.chunks(60 << 10) {
                stderr.write_all(chunk).expect("write");
                turn(&mut output);
            }
            assert!(output.has_unsent());
            output.drain();
            output.flush(Some(Instant::now()));
            assert!(output.has_unsent());
            let reading = std::thread::spawn(move || {
                let mut passed = Vec::new();
                File::from(reader).read_to_end(&mut passed).map(|_| passed)
            });
            output.flush(None);
            drop(output);
            let passed = reading.join().expect("thread").expect("read");
            let warning =
                b"launch: warning: stderr: its reader is slow: what it missed is in the log alone\n";
            let (data, end) = passed.split_at(passed.len() - warning.len());
            assert_eq!(String::from_utf8_lossy(end), String::from_utf8_lossy(warning));
            assert!(data.iter().all(|byte| *byte == b'x') && data.len() > BUFFER - CHUNK);
        }
    }

    #[test]
    fn a_reader_who_went_away_ends_passing_on_alone() {
        let (folder, log) = log();
        let (reader, outside) = std::io::pipe().expect("pipe");
        let (mut output, ends) = Output::between(Some(log), [Some(outside.as_fd()), None]).expect("output");
        drop((reader, outside));
        let mut stdout = File::from(ends.stdout);
        for _ in 0..3 {
            stdout.write_all(b"a\n").expect("write");
            turn(&mut output);
        }
        drop(stdout);
        turn(&mut output);
        assert!(output.inside[0].is_none() && !output.has_unsent());
        assert_eq!(logged(&folder), ["stdout:a"; 3]);
    }

    #[test]
    fn a_full_file_ends_passing_on_with_a_warning() {
        let (_folder, log) = log();
        let full = OpenOptions::new().write(true).open("/dev/full").expect("open");
        let (reader, outside) = std::io::pipe().expect("pipe");
        let outsides = [Some(full.as_fd()), Some(outside.as_fd())];
        let (mut output, ends) = Output::between(Some(log), outsides).expect("output");
        drop(outside);
        File::from(ends.stdout).write_all(b"a\n").expect("write");
        turn(&mut output);
        drop(output);
        let mut said = String::new();
        File::from(OwnedFd::from(reader)).read_to_string(&mut said).expect("read");
        assert_eq!(said, "launch: warning: stdout: No space left on device; nothing more is passed on\n");
    }
}
