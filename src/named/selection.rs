//! What `launch logs` shows of the lines of a log, and how.
//!
//! Values only.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use launch_init::parse::duration;

use super::log_file::rfc3339;
use super::records::{Record, Stream, parse};

/// A time as it is given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This one.
    At(SystemTime),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    /// Reads `2026-11-24T21:25:00Z`, with or without a fraction, `2026-11-24`, or a duration.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read(text: &str) -> Result<Self, String> {
        if let Ok(ago) = duration(text) {
            return Ok(Self::Ago(ago));
        }
        let day = format!("{text}T00:00:00Z");
        let time = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&day));
        time.map(Self::At).map_err(|_| {
            format!(
                "{text:?} is no time: say 2026-11-24T21:25:00Z (in UTC), 2026-11-24, or how long ago: 10m"
            )
        })
    }

    /// The time that it is.
    pub fn time(self, now: SystemTime) -> SystemTime {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// Which lines are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this time on.
    pub since: Option<SystemTime>,
    /// Up to this time.
    pub until: Option<SystemTime>,
    /// This stream alone.
    pub stream: Option<Stream>,
    /// Each line with its time before it.
    pub timestamps: bool,
    /// So many of those that are there already.
    pub tail: Option<usize>,
}

/// A piece to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where.
    pub stream: Stream,
    /// What.
    pub bytes: Vec<u8>,
    begins_line: bool,
}

/// Selects, a line of the log after the other.
#[derive(Debug)]
pub struct Selector {
    /// Times sort as text.
    since: Option<String>,
    until: Option<String>,
    stream: Option<Stream>,
    timestamps: bool,
    /// While the last ones are kept back: how many lines.
    tail: Option<usize>,
    kept: VecDeque<Piece>,
    kept_lines: usize,
    /// Whether the line of each stream has begun and not ended.
    is_within: [bool; 2],
    /// Whether what is no record is shown: as the record before it.
    shows: bool,
}

impl Selector {
    /// By this selection.
    pub fn new(selection: &Selection) -> Self {
        Self {
            since: selection.since.map(rfc3339),
            until: selection.until.map(rfc3339),
            stream: selection.stream,
            timestamps: selection.timestamps,
            tail: selection.tail,
            kept: VecDeque::new(),
            kept_lines: 0,
            is_within: [false; 2],
            shows: selection.since.is_none(),
        }
    }

    /// What is to be shown of a line, now.
    pub fn take(&mut self, line: &[u8]) -> Option<Piece> {
        let piece = match parse(line) {
            Some(record) => self.of_record(record),
            None => self.of_other(line),
        }?;
        let Some(tail) = self.tail else { return Some(piece) };
        self.kept_lines += usize::from(piece.begins_line);
        self.kept.push_back(piece);
        while self.kept_lines > tail || self.kept.front().is_some_and(|piece| !piece.begins_line) {
            let gone = self.kept.pop_front()?;
            self.kept_lines -= usize::from(gone.begins_line);
        }
        None
    }

    /// The last lines of those that were there; from now on each is shown at once.
    pub fn let_go(&mut self) -> VecDeque<Piece> {
        self.tail = None;
        std::mem::take(&mut self.kept)
    }

    fn of_record(&mut self, record: Record<'_>) -> Option<Piece> {
        let begins_line = !self.is_within[record.stream as usize];
        self.is_within[record.stream as usize] = !record.is_full;
        let is_early = self.since.as_deref().is_some_and(|since| record.time < since);
        self.shows = !is_early && self.until.as_deref().is_none_or(|until| record.time <= until);
        if !self.shows || self.stream.is_some_and(|stream| stream != record.stream) {
            return None;
        }
        let mut bytes = Vec::with_capacity(record.text.len() + 32);
        if self.timestamps && begins_line {
            bytes.extend_from_slice(record.time.as_bytes());
            bytes.push(b' ');
        }
        bytes.extend_from_slice(record.text);
        if record.is_full {
            bytes.push(b'\n');
        }
        Some(Piece { stream: record.stream, bytes, begins_line })
    }

    /// A line that somebody else has put there, or a damaged one, is shown as it is.
    fn of_other(&self, line: &[u8]) -> Option<Piece> {
        let is_shown = self.shows && self.stream != Some(Stream::Stderr);
        is_shown.then(|| Piece { stream: Stream::Stdout, bytes: [line, b"\n"].concat(), begins_line: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    const LOG: [&str; 8] = [
        "1970-01-01T00:00:01.000000000Z stdout F one",
        "1970-01-01T00:00:02.000000000Z stderr P tw",
        "1970-01-01T00:00:03.000000000Z stdout F three",
        "1970-01-01T00:00:04.000000000Z stderr F o",
        "what?",
        "1970-01-01T00:00:05.000000000Z stdout P fi",
        "1970-01-01T00:00:06.000000000Z stdout P v",
        "1970-01-01T00:00:06.000000000Z stdout F e",
    ];

    /// What is shown on stdout and on stderr.
    fn shown(selection: &Selection) -> (String, String) {
        let mut selector = Selector::new(selection);
        let mut pieces: Vec<_> = LOG.iter().filter_map(|line| selector.take(line.as_bytes())).collect();
        pieces.extend(selector.let_go());
        let on = |stream| {
            let pieces = pieces.iter().filter(|piece| piece.stream == stream);
            pieces.map(|piece| String::from_utf8_lossy(&piece.bytes)).collect()
        };
        (on(Stream::Stdout), on(Stream::Stderr))
    }

    #[test]
    fn what_was_asked_for_is_shown() {
        let all = Selection::default();
        let times = "1970-01-01T00:00:0";
        let stamped =
            format!("{times}1.000000000Z one\n{times}3.000000000Z three\nwhat?\n{times}5.000000000Z five\n");
        for (selection, stdout, stderr) in [
            (all.clone(), "one\nthree\nwhat?\nfive\n", "two\n"),
            (
                Selection { timestamps: true, stream: Some(Stream::Stdout), ..all.clone() },
                stamped.as_str(),
                "",
            ),
            (Selection { stream: Some(Stream::Stderr), ..all.clone() }, "", "two\n"),
            (Selection { since: Some(at(3)), ..all.clone() }, "three\nwhat?\nfive\n", "o\n"),
            (Selection { until: Some(at(3)), ..all.clone() }, "one\nthree\n", "tw"),
            (Selection { since: Some(at(2)), until: Some(at(2)), ..all.clone() }, "", "tw"),
            (Selection { since: Some(at(7)), ..all.clone() }, "", ""),
            (Selection { tail: Some(0), ..all.clone() }, "", ""),
            (Selection { tail: Some(1), ..all.clone() }, "five\n", ""),
            (Selection { tail: Some(2), ..all.clone() }, "what?\nfive\n", ""),
            (Selection { tail: Some(4), ..all.clone() }, "three\nwhat?\nfive\n", "two\n"),
            (Selection { tail: Some(9), ..all.clone() }, "one\nthree\nwhat?\nfive\n", "two\n"),
        ] {
            assert_eq!(shown(&selection), (stdout.into(), stderr.into()), "{selection:?}");
        }
    }

    #[test]
    fn moments_are_times_days_and_durations() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Moment::At(at(1))),
            ("1970-01-01 00:00:01", Moment::At(at(1))),
            ("1970-01-01T00:00:01.5Z", Moment::At(at(1) + Duration::from_millis(500))),
            ("1970-01-02", Moment::At(at(86400))),
            ("10m", Moment::Ago(Duration::from_secs(600))),
            ("0", Moment::Ago(Duration::ZERO)),
        ] {
            assert_eq!(Moment::read(text), Ok(expected), "{text}");
        }
        for text in ["", "yesterday", "1970-13-01", "-5m", "12:00"] {
            assert!(Moment::read(text).is_err_and(|reason| reason.contains("is no time")), "{text}");
        }
        assert_eq!(Moment::Ago(Duration::from_secs(5)).time(at(7)), at(2));
        assert_eq!(Moment::Ago(Duration::MAX).time(at(7)), at(0));
    }
}
