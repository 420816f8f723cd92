//! The file that has what the workload writes: appended to in records, rotated by size and count, and given up for a while
//! when the disk is full. Nothing here ever holds up the workload or ends it.
//!
//! records.rs says what is written; output.rs brings it.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, open, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::records::{Batch, LONGEST_RECORD, Lines, Mend, Record, Stream, mend};
use crate::error::Error;

/// In a sandbox's folder: what its workload writes, if `--log` names no other file.
pub const OUTPUT: &str = "output.log";

/// How long the end of a line is waited for.
const LINE_PATIENCE: Duration = Duration::from_secs(1);
/// How long after a failed write the next one is tried.
const RETRY: Duration = Duration::from_secs(5);
/// A disk that is full again within this time is not warned of again.
const QUIET: Duration = Duration::from_secs(60);

/// The log of a sandbox.
#[derive(Debug)]
pub struct LogFile {
    /// As the caller named it.
    path: PathBuf,
    /// Where it is, whatever the working directory becomes.
    directory: OwnedFd,
    name: OsString,
    max_size: u64,
    max_files: u32,
    /// None while it could not be opened.
    file: Option<File>,
    lines: [Lines; 2],
    /// Since when the end of each stream's line is waited for.
    unfinished: [Option<Instant>; 2],
    batch: Batch,
    outage: Option<Outage>,
    warned: Option<Instant>,
    warning: Option<String>,
}

/// A time in which nothing can be logged.
#[derive(Debug, Clone, Copy)]
struct Outage {
    reason: Errno,
    retry: Instant,
    /// How many bytes of the workload's are in no file.
    lost: u64,
}

/// Why a file is not open.
enum NotOpen {
    System(Errno),
    NoFile,
    Taken,
}

impl LogFile {
    /// The log at `path`: made if there is none, else appended to. A file that would have more than `max_size` bytes becomes
    /// `path.1`, that one `path.2`, and so on; there are `max_files` of them at most, with this one.
    ///
    /// A full disk is no error: it is tried again later.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::LogFile`]: it cannot be opened, is no regular file, or another one is logged there.
    #[cold]
    pub fn open(path: &Path, max_size: u64, max_files: u32) -> Result<Self, Error> {
        let failed = |errno| Error::Log(path.into(), errno);
        let name = path.file_name().ok_or_else(|| failed(Errno::EISDIR))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty()).map_err(failed)?;
        let mut log = Self {
            path: path.into(),
            directory,
            name,
            max_size,
            max_files: max_files.max(1),
            file: None,
            lines: Stream::ALL.map(Lines::of),
            unfinished: [None; 2],
            batch: Batch::default(),
            outage: None,
            warned: None,
            warning: None,
        };
        match log.open_file() {
            Ok(file) => log.file = Some(file),
            Err(NotOpen::System(errno)) if is_full(errno) => log.give_up(errno, 0, Instant::now()),
            Err(NotOpen::System(errno)) => return Err(failed(errno)),
            Err(NotOpen::NoFile) => return Err(Error::LogFile(path.into(), "is no regular file".into())),
            Err(NotOpen::Taken) => {
                let reason = "another sandbox is logged there; two would rotate each other's lines away";
                return Err(Error::LogFile(path.into(), reason.into()));
            }
        }
        Ok(log)
    }

    /// Logs what came on a stream.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], now: Instant) {
        let time = rfc3339(SystemTime::now());
        let mut batch = std::mem::take(&mut self.batch);
        let lines = &mut self.lines[stream as usize];
        lines.take(bytes, &time, &mut batch);
        let unfinished = &mut self.unfinished[stream as usize];
        if !batch.is_empty() || !lines.is_unfinished() {
            *unfinished = None;
        }
        if lines.is_unfinished() {
            unfinished.get_or_insert(now);
        }
        self.write(&batch, now);
        batch.clear();
        self.batch = batch;
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let lines = self.unfinished.iter().flatten().map(|since| *since + LINE_PATIENCE);
        let retry = self.outage.as_ref().filter(|outage| outage.lost > 0).map(|outage| outage.retry);
        lines.chain(retry).min()
    }

    /// Logs the lines whose end has been waited for long enough, and tries again what did not work.
    pub fn tick(&mut self, now: Instant) {
        self.give_up_waiting(|since| since + LINE_PATIENCE <= now, now);
        if self.outage.is_some_and(|outage| outage.lost > 0 && outage.retry <= now) {
            self.resume(now);
        }
    }

    /// Logs what is left, when no more will come.
    pub fn finish(&mut self) {
        let now = Instant::now();
        self.give_up_waiting(|_| true, now);
        if self.outage.is_some_and(|outage| outage.lost > 0) {
            self.resume(now);
        }
    }

    /// What the caller should be told, once. It is not said here, since whoever reads it may be slow.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    fn give_up_waiting(&mut self, is_due: impl Fn(Instant) -> bool, now: Instant) {
        let time = rfc3339(SystemTime::now());
        let mut batch = std::mem::take(&mut self.batch);
        for (lines, since) in self.lines.iter_mut().zip(&mut self.unfinished) {
            if since.is_some_and(&is_due) {
                lines.give_up_waiting(&time, &mut batch);
                *since = None;
            }
        }
        self.write(&batch, now);
        batch.clear();
        self.batch = batch;
    }

    fn write(&mut self, batch: &Batch, now: Instant) {
        if batch.is_empty() {
            return;
        }
        if self.outage.is_some_and(|outage| outage.retry <= now) {
            self.resume(now);
        }
        if let Some(outage) = &mut self.outage {
            outage.lost += batch.carried(0);
            return;
        }
        if let Err((errno, written)) = self.write_records(batch) {
            self.give_up(errno, batch.carried(written), now);
        }
    }

    /// Says in the log what is missing in it; if that can be written, the rest may follow.
    fn resume(&mut self, now: Instant) {
        let Some(outage) = self.outage else { return };
        let mut batch = Batch::default();
        if outage.lost > 0 {
            let reason = outage.reason.desc();
            let text = format!("launch: warning: log: {} bytes are missing here: {reason}", outage.lost);
            let time = rfc3339(SystemTime::now());
            batch.push(Record { time: &time, stream: Stream::Stderr, is_full: true, text: text.as_bytes() });
        }
        let written =
            self.size().map(drop).and_then(|()| self.write_records(&batch).map_err(|(errno, _)| errno));
        self.outage = match written {
            Ok(()) => None,
            Err(reason) => Some(Outage { reason, retry: now + RETRY, ..outage }),
        };
    }

    fn give_up(&mut self, reason: Errno, lost: u64, now: Instant) {
        self.outage = Some(Outage { reason, retry: now + RETRY, lost });
        if self.warned.is_none_or(|warned| warned + QUIET <= now) {
            let until = if reason == Errno::ENOSPC { "there is" } else { "it can be" };
            let (path, reason) = (self.path.display(), reason.desc());
            self.warning = Some(format!("log: {path}: {reason}; nothing more is logged until {until}"));
        }
        self.warned = Some(now);
    }

    /// What of it is not written, if something isn't: why, and from which record on. No record is written in part.
    fn write_records(&mut self, batch: &Batch) -> Result<(), (Errno, usize)> {
        let mut next = 0;
        while next < batch.len() {
            let size = self.size().map_err(|errno| (errno, next))?;
            let end = batch.fitting(next, size, self.max_size);
            if end == next {
                self.rotate().map_err(|errno| (errno, next))?;
                continue;
            }
            let bytes = batch.bytes(next, end);
            let (written, result) = write_all(self.file.as_mut(), bytes);
            let whole = batch.whole(next, written);
            let torn = written - batch.bytes(next, whole).len();
            next = whole;
            if torn > 0 {
                self.cut(torn);
            }
            result.map_err(|errno| (errno, next))?;
        }
        Ok(())
    }

    /// Takes off the last bytes. What cannot be taken off now is when the file is opened again.
    fn cut(&mut self, torn: usize) {
        let Some(file) = &self.file else { return };
        let cut =
            file.metadata().and_then(|metadata| file.set_len(metadata.len().saturating_sub(torn as u64)));
        if cut.is_err() {
            self.file = None;
        }
    }

    /// The size of the file, which is there afterwards. Somebody else may have cut it, moved it away or removed it.
    fn size(&mut self) -> Result<u64, Errno> {
        if let Some(file) = &self.file {
            let metadata = file.metadata().map_err(io_errno)?;
            let there = fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (metadata.dev(), metadata.ino())) {
                return Ok(metadata.len());
            }
        }
        self.file = None;
        let file = self.open_file().map_err(|not| match not {
            NotOpen::System(errno) => errno,
            NotOpen::NoFile => Errno::EINVAL,
            NotOpen::Taken => Errno::EBUSY,
        })?;
        let size = file.metadata().map_err(io_errno)?.len();
        self.file = Some(file);
        Ok(size)
    }

    fn open_file(&self) -> Result<File, NotOpen> {
        // The open of a FIFO would wait for its reader, and a terminal could become ours.
        let flags = OFlag::O_RDWR
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_CLOEXEC
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.directory, self.name.as_os_str(), flags, mode).map_err(NotOpen::System)?;
        let mut file = File::from(file);
        let of_io = |error| NotOpen::System(io_errno(error));
        let metadata = file.metadata().map_err(of_io)?;
        if !metadata.is_file() {
            return Err(NotOpen::NoFile);
        }
        lock(&file)?;
        let size = metadata.len();
        let mut end = vec![0; size.min(LONGEST_RECORD as u64 + 1) as usize];
        let start = size - end.len() as u64;
        file.read_exact_at(&mut end, start).map_err(of_io)?;
        match mend(&end) {
            Mend::Nothing => {}
            Mend::Cut(torn) => file.set_len(size - torn as u64).map_err(of_io)?,
            Mend::EndLine => file.write_all(b"\n").map_err(of_io)?,
        }
        Ok(file)
    }

    /// Makes place for a new file: each gets the next number, the last one goes.
    fn rotate(&mut self) -> Result<(), Errno> {
        let directory = self.directory.as_fd();
        let exists = |name: &OsStr| fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        let numbers = (1..self.max_files).take_while(|number| exists(&numbered(&self.name, *number)));
        let last = numbers.last().unwrap_or(0).saturating_add(1).min(self.max_files - 1);
        for number in (1..=last).rev() {
            let (from, to) = (numbered(&self.name, number - 1), numbered(&self.name, number));
            or_gone(renameat(directory, from.as_os_str(), directory, to.as_os_str()))?;
        }
        if self.max_files == 1 {
            or_gone(unlinkat(directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir))?;
        }
        self.file = None;
        Ok(())
    }
}

/// Takes the file for us alone, for as long as it is open. See fcntl_locking(2).
fn lock(file: &File) -> Result<(), NotOpen> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(NotOpen::Taken),
        Err(errno) => {
            // Some file systems have no locks, and a log is worth more than this.
            log::debug!("log: not locked: {}", errno.desc());
            Ok(())
        }
    }
}

/// The name of a rotated file; 0 is the one that is written to.
pub fn numbered(name: &OsStr, number: u32) -> OsString {
    let mut numbered = name.to_owned();
    if number > 0 {
        numbered.push(format!(".{number}"));
    }
    numbered
}

/// A time as it is in a record.
pub fn rfc3339(time: SystemTime) -> String {
    // The years that the form has not got are none in which anything was logged.
    humantime::format_rfc3339_nanos(time.max(UNIX_EPOCH)).to_string()
}

fn is_full(errno: Errno) -> bool {
    [Errno::ENOSPC, Errno::EDQUOT].contains(&errno)
}

/// Somebody else may remove or move what is rotated.
fn or_gone(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::ENOENT) { Ok(()) } else { result }
}

/// How many bytes are written, and why not all of them.
fn write_all(file: Option<&mut File>, bytes: &[u8]) -> (usize, Result<(), Errno>) {
    let Some(file) = file else { return (0, Err(Errno::EBADF)) };
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(Errno::EIO)),
            Ok(length) => written += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(io_errno(error))),
        }
    }
    (written, Ok(()))
}

fn io_errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::named::records::parse;

    fn folder() -> (TempDir, PathBuf) {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("out.log");
        (folder, path)
    }

    /// What is in a file: `stream:F:text` for each record.
    fn records(path: &Path) -> Vec<String> {
        let content = fs::read(path).expect("log");
        let content = content.strip_suffix(b"\n").expect("a line's end");
        let show = |line: &[u8]| {
            let record = parse(line).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line)));
            let kind = if record.is_full { "F" } else { "P" };
            format!("{}:{kind}:{}", record.stream.name(), String::from_utf8_lossy(record.text))
        };
        content.split(|byte| *byte == b'\n').map(show).collect()
    }

    #[test]
    fn a_log_is_its_owners_alone_and_is_appended_to() {
        let (_folder, path) = folder();
        let now = Instant::now();
        let mut log = LogFile::open(&path, 1000, 3).expect("open");
        log.append(Stream::Stdout, b"one\ntw", now);
        log.append(Stream::Stderr, b"three\n", now);
        log.append(Stream::Stdout, b"o\n", now);
        drop(log);
        fs::OpenOptions::new().append(true).open(&path).expect("open").write_all(b"2026-").expect("write");
        let mut log = LogFile::open(&path, 1000, 3).expect("open");
        log.append(Stream::Stdout, b"four\n", now);
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o600);
        assert_eq!(records(&path), ["stdout:F:one", "stderr:F:three", "stdout:F:two", "stdout:F:four"]);
    }

    #[test]
    fn what_is_no_record_is_kept_and_its_line_ended() {
        let (_folder, path) = folder();
        fs::write(&path, "precious").expect("write");
        LogFile::open(&path, 1000, 3).expect("open").append(Stream::Stdout, b"a\n", Instant::now());
        assert!(fs::read_to_string(&path).expect("read").starts_with("precious\n20"));
    }

    #[test]
    fn the_end_of_a_line_is_waited_for_for_a_second() {
        let (_folder, path) = folder();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut log = LogFile::open(&path, 1000, 3).expect("open");
        assert_eq!(log.deadline(), None);
        log.append(Stream::Stdout, b"name", at(0));
        log.append(Stream::Stdout, b"? ", at(500));
        assert_eq!(log.deadline(), Some(at(1000)));
        log.tick(at(999));
        assert_eq!(fs::read(&path).expect("read"), b"");
        log.tick(at(1000));
        assert_eq!(log.deadline(), None);
        log.append(Stream::Stdout, b"\n", at(1500));
        log.append(Stream::Stderr, b"the end", at(1500));
        log.finish();
        assert_eq!(records(&path), ["stdout:P:name? ", "stdout:F:", "stderr:P:the end"]);
    }

    #[test]
    fn files_are_rotated_between_records() {
        // 43 bytes each: two in a file.
        for (max_files, expected) in [
            (3, vec!["log.1: 6 7", "log.2: 4 5", "log: 8"]),
            (2, vec!["log.1: 6 7", "log: 8"]),
            (1, vec!["log: 8"]),
            (100, vec!["log.1: 6 7", "log.2: 4 5", "log.3: 2 3", "log.4: 0 1", "log: 8"]),
        ] {
            let (folder, path) = folder();
            let mut log = LogFile::open(&path, 90, max_files).expect("open");
            log.append(Stream::Stdout, b"00\n01\n02\n03\n04\n", Instant::now());
            for number in 5..9 {
                log.append(Stream::Stdout, format!("0{number}\n").as_bytes(), Instant::now());
            }
            let mut found: Vec<_> = fs::read_dir(folder.path())
                .expect("list")
                .map(|entry| {
                    let path = entry.expect("entry").path();
                    let texts: Vec<_> =
                        records(&path).iter().map(|record| record.replace("stdout:F:0", "")).collect();
                    let name = path.file_name().expect("name").to_str().expect("text").replace("out.", "");
                    format!("{name}: {}", texts.join(" "))
                })
                .collect();
            found.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_record_that_is_longer_than_a_file_has_one_of_its_own() {
        let (folder, path) = folder();
        let mut log = LogFile::open(&path, 10, 3).expect("open");
        log.append(Stream::Stdout, b"one\ntwo\n", Instant::now());
        assert_eq!(records(&path), ["stdout:F:two"]);
        assert_eq!(records(&folder.path().join("out.log.1")), ["stdout:F:one"]);
    }

    #[test]
    fn a_log_that_somebody_removed_or_cut_is_gone_on_with() {
        let (folder, path) = folder();
        let mut log = LogFile::open(&path, 90, 2).expect("open");
        log.append(Stream::Stdout, b"00\n01\n", Instant::now());
        fs::remove_file(&path).expect("remove");
        log.append(Stream::Stdout, b"02\n03\n", Instant::now());
        assert_eq!(records(&path), ["stdout:F:02", "stdout:F:03"]);
        fs::OpenOptions::new().write(true).open(&path).expect("open").set_len(0).expect("cut");
        log.append(Stream::Stdout, b"04\n", Instant::now());
        assert_eq!(records(&path), ["stdout:F:04"]);
        assert!(!folder.path().join("out.log.1").exists());
    }

    #[test]
    fn a_log_that_somebody_moved_away_is_begun_anew() {
        let (folder, path) = folder();
        let mut log = LogFile::open(&path, 1000, 3).expect("open");
        log.append(Stream::Stdout, b"00\n", Instant::now());
        // As logrotate does, with and without `create`.
        fs::rename(&path, folder.path().join("one")).expect("rename");
        fs::write(&path, "").expect("write");
        log.append(Stream::Stdout, b"01\n", Instant::now());
        fs::rename(&path, folder.path().join("two")).expect("rename");
        log.append(Stream::Stdout, b"02\n", Instant::now());
        for (path, record) in
            [(folder.path().join("one"), "00"), (folder.path().join("two"), "01"), (path, "02")]
        {
            assert_eq!(records(&path), [format!("stdout:F:{record}")]);
        }
    }

    #[test]
    fn a_file_is_the_log_of_one_alone() {
        let (_folder, path) = folder();
        let mut log = LogFile::open(&path, 60, 3).expect("open");
        let expected = format!(
            "log: {}: another sandbox is logged there; two would rotate each other's lines away",
            path.display()
        );
        assert_eq!(LogFile::open(&path, 60, 3).expect_err("refused").to_string(), expected);
        // It takes the new one, too.
        log.append(Stream::Stdout, b"00\n01\n", Instant::now());
        assert_eq!(LogFile::open(&path, 60, 3).expect_err("refused").to_string(), expected);
        drop(log);
        LogFile::open(&path, 60, 3).expect("open");
    }

    #[test]
    fn what_cannot_be_a_log_is_refused() {
        let (folder, path) = folder();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("fifo");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("target", &link).expect("link");
        for (path, message) in [
            (path, "is no regular file"),
            (link, "Too many symbolic links encountered"),
            (folder.path().into(), "Is a directory"),
            (folder.path().join("none/log"), "No such file or directory"),
            ("/".into(), "Is a directory"),
        ] {
            let error = LogFile::open(&path, 1, 1).expect_err("refused").to_string();
            assert_eq!(error, format!("log: {}: {message}", path.display()));
        }
    }

    #[test]
    fn a_full_disk_is_warned_of_once_and_what_is_missing_is_said() {
        let (_folder, path) = folder();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // EFBIG is as good as ENOSPC; a limit on the size of files would be the whole process's.
        let mut log = LogFile::open(&path, 1000, 3).expect("open");
        log.append(Stream::Stdout, b"before\n", at(0));
        log.give_up(Errno::ENOSPC, 10, at(0));
        let warning = format!(
            "log: {}: No space left on device; nothing more is logged until there is",
            path.display()
        );
        assert_eq!((log.take_warning(), log.take_warning()), (Some(warning), None));
        log.append(Stream::Stdout, b"lost\n", at(4));
        assert_eq!(log.deadline(), Some(at(5)));
        log.tick(at(5));
        assert_eq!(log.deadline(), None);
        log.append(Stream::Stdout, b"after\n", at(6));
        log.give_up(Errno::ENOSPC, 10, at(7));
        assert_eq!(log.take_warning(), None);
        let missing = "stderr:F:launch: warning: log: 15 bytes are missing here: No space left on device";
        assert_eq!(records(&path), ["stdout:F:before", missing, "stdout:F:after"]);
    }
}
