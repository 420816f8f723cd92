//! What is written in a log: a record a line, `2026-11-24T21:25:00.123456789Z stdout F text`, which is the form that the
//! CRI gives the logs of containers. F ends a line of the workload's; P is a part of one, whose rest follows.
//!
//! Values only; log_file.rs writes them, commands/logs.rs reads them.

#![forbid(unsafe_code)]

use memchr::{memchr, memrchr};

/// The most text that a record has, in bytes.
pub const LONGEST_TEXT: usize = 16 << 10;

/// The most bytes that a record has.
pub const LONGEST_RECORD: usize = LONGEST_TEXT + 64;

/// The length of a time in RFC 3339 with nanoseconds, in UTC.
const TIME: usize = "2026-11-24T21:25:00.123456789Z".len();

/// Which of the workload's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its stdout.
    Stdout,
    /// Its stderr.
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// As it is called in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read from the workload.
    pub time: &'a str,
    /// Where it was written.
    pub stream: Stream,
    /// Whether the line ends with it.
    pub is_full: bool,
    /// What was written, without the line's end.
    pub text: &'a [u8],
}

/// The record in a line, which is without its end; none in a line that is something else.
pub fn parse(line: &[u8]) -> Option<Record<'_>> {
    let (time, rest) = line.split_at_checked(TIME)?;
    let time = str::from_utf8(time).ok().filter(|time| is_time(time))?;
    let (stream, rest) = match rest.split_at_checked(" stdout ".len())? {
        (b" stdout ", rest) => (Stream::Stdout, rest),
        (b" stderr ", rest) => (Stream::Stderr, rest),
        _ => return None,
    };
    let (is_full, text) = match rest.split_at_checked(2)? {
        (b"F ", text) => (true, text),
        (b"P ", text) => (false, text),
        _ => return None,
    };
    Some(Record { time, stream, is_full, text })
}

/// Whether a text has the form of a time: what sorts as text as it does in time.
fn is_time(text: &str) -> bool {
    text.len() == TIME
        && text.bytes().zip(b"0000-00-00T00:00:00.000000000Z").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *form,
        })
}

/// Whether this is how a record begins, or the beginning of that.
pub fn begins_as_record(bytes: &[u8]) -> bool {
    const FORMS: [&[u8]; 2] =
        [b"0000-00-00T00:00:00.000000000Z stdout ", b"0000-00-00T00:00:00.000000000Z stderr "];
    FORMS.iter().any(|form| {
        bytes.iter().zip(*form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
    })
}

/// What stands before the text of a record.
fn head(time: &str, stream: Stream, is_full: bool) -> Vec<u8> {
    let kind = if is_full { b" F " } else { b" P " };
    [time.as_bytes(), b" ", stream.name().as_bytes(), kind].concat()
}

/// Records that are written together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends, and how many bytes of the workload's are in it.
    records: Vec<(usize, usize)>,
}

impl Batch {
    /// A record more.
    pub fn push(&mut self, record: Record<'_>) {
        self.bytes.extend_from_slice(&head(record.time, record.stream, record.is_full));
        self.bytes.extend_from_slice(record.text);
        self.bytes.push(b'\n');
        self.records.push((self.bytes.len(), record.text.len() + usize::from(record.is_full)));
    }

    /// The same of a whole line with its end, whose [`head`] is made beforehand: what a log takes most of its time for.
    fn push_line(&mut self, head: &[u8], line: &[u8]) {
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(line);
        self.records.push((self.bytes.len(), line.len()));
    }

    /// The bytes of the records from number `first` on.
    pub fn bytes(&self, first: usize, end: usize) -> &[u8] {
        &self.bytes[self.start(first)..self.start(end)]
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes of the workload's are in the records from number `first` on.
    pub fn carried(&self, first: usize) -> u64 {
        self.records[first..].iter().map(|(_, carried)| *carried as u64).sum()
    }

    /// The number of the first record that a file with `size` bytes does not take any more: it takes the records from
    /// `first` on until it would have more than `max` bytes. An empty file takes one of any length.
    pub fn fitting(&self, first: usize, size: u64, max: u64) -> usize {
        let start = self.start(first);
        let fits = |(end, _): &(usize, usize)| size + (end - start) as u64 <= max;
        let end = first + self.records[first..].partition_point(fits);
        if end == first && size == 0 { (first + 1).min(self.len()) } else { end }
    }

    /// The number of the first of the records from `first` on that is not whole in so many bytes of them.
    pub fn whole(&self, first: usize, written: usize) -> usize {
        let start = self.start(first);
        first + self.records[first..].partition_point(|(end, _)| end - start <= written)
    }

    /// Forgets them, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    fn start(&self, record: usize) -> usize {
        record.checked_sub(1).map_or(0, |before| self.records[before].0)
    }
}

/// Puts together the lines of a stream.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    unfinished: Vec<u8>,
}

impl Lines {
    /// Of this stream.
    pub fn of(stream: Stream) -> Self {
        Self { stream, unfinished: Vec::new() }
    }

    /// What came: the lines that it ends, and the parts that are too long to wait for their end, become records.
    pub fn take(&mut self, mut bytes: &[u8], time: &str, batch: &mut Batch) {
        let stream = self.stream;
        let head = head(time, stream, true);
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            // The usual line came at once, and is not copied twice.
            if self.unfinished.is_empty() && end <= LONGEST_TEXT {
                batch.push_line(&head, line);
            } else {
                self.unfinished.extend_from_slice(&line[..end]);
                push_parts(stream, &self.unfinished, true, time, batch);
                self.unfinished.clear();
            }
            bytes = rest;
        }
        self.unfinished.extend_from_slice(bytes);
        let long = self.unfinished.len() / LONGEST_TEXT * LONGEST_TEXT;
        if long > 0 {
            push_parts(stream, &self.unfinished[..long], false, time, batch);
            self.unfinished.drain(..long);
        }
    }

    /// Whether a line has begun whose end did not come.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// What there is of the line becomes a record, without an end.
    pub fn give_up_waiting(&mut self, time: &str, batch: &mut Batch) {
        if self.is_unfinished() {
            push_parts(self.stream, &self.unfinished, false, time, batch);
            self.unfinished.clear();
        }
    }
}

fn push_parts(stream: Stream, line: &[u8], is_full: bool, time: &str, batch: &mut Batch) {
    let mut parts = line.chunks(LONGEST_TEXT);
    let last = parts.next_back().unwrap_or_default();
    for text in parts {
        batch.push(Record { time, stream, is_full: false, text });
    }
    batch.push(Record { time, stream, is_full, text: last });
}

/// What is to be done with the end of a file that is appended to, so that the first record begins a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// It ends with a line's end, or is empty.
    Nothing,
    /// So many bytes at its end are the beginning of a record: cut them off.
    Cut(usize),
    /// It ends with something else, which is not ours to throw away: end the line.
    EndLine,
}

/// By the last bytes of the file; more than [`LONGEST_RECORD`], or all of them.
pub fn mend(end: &[u8]) -> Mend {
    let torn = memrchr(b'\n', end).map_or(end, |at| &end[at + 1..]);
    match torn.len() {
        0 => Mend::Nothing,
        length if length <= LONGEST_RECORD && begins_as_record(torn) => Mend::Cut(length),
        _ => Mend::EndLine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T21:25:00.123456789Z";

    /// The records of chunks that came on stdout, without their times and stream.
    fn records_of(chunks: &[&[u8]], at_end: bool) -> Vec<(bool, Vec<u8>)> {
        let (mut lines, mut batch) = (Lines::of(Stream::Stdout), Batch::default());
        chunks.iter().for_each(|chunk| lines.take(chunk, NOW, &mut batch));
        if at_end {
            lines.give_up_waiting(NOW, &mut batch);
        }
        let Some(all) = batch.bytes(0, batch.len()).strip_suffix(b"\n") else { return Vec::new() };
        let records = all.split(|byte| *byte == b'\n').map(|line| parse(line).expect("a record"));
        records.map(|record| (record.is_full, record.text.to_vec())).collect()
    }

    #[test]
    fn a_record_is_a_line_that_is_read_back() {
        let mut batch = Batch::default();
        let record = Record { time: NOW, stream: Stream::Stderr, is_full: true, text: b"a \xff\0\r" };
        batch.push(record);
        assert_eq!(batch.bytes(0, 1), b"2026-11-24T21:25:00.123456789Z stderr F a \xff\0\r\n");
        assert_eq!(parse(&batch.bytes(0, 1)[..batch.bytes.len() - 1]), Some(record));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "hello",
            "2026-11-24T21:25:00.123456789Z",
            "2026-11-24T21:25:00.123456789Z stdout",
            "2026-11-24T21:25:00.123456789Z stdout F",
            "2026-11-24T21:25:00.123456789Z stdout X text",
            "2026-11-24T21:25:00.123456789Z stdlog F text",
            "2026-11-24T21:25:00.12345678Z0 stdout F text",
            "2026-11-24T21:25:00.12345678é stdout F text",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lines_are_put_together_and_long_ones_come_in_parts() {
        let long = vec![b'x'; 2 * LONGEST_TEXT + 5];
        let with_end = [&long[..], b"\n"].concat();
        let exact = vec![b'y'; LONGEST_TEXT];
        let full = |text: &[u8]| (true, text.to_vec());
        let part = |text: &[u8]| (false, text.to_vec());
        let long_parts = vec![part(&long[..LONGEST_TEXT]), part(&long[..LONGEST_TEXT]), full(b"xxxxx")];
        type Row<'a> = (&'a [&'a [u8]], bool, Vec<(bool, Vec<u8>)>);
        let table: [Row<'_>; 9] = [
            (&[b"a\nb\n"], false, vec![full(b"a"), full(b"b")]),
            (&[b"a", b"b", b"\nc\n"], false, vec![full(b"ab"), full(b"c")]),
            (&[b"\n\n"], false, vec![full(b""), full(b"")]),
            (&[b"a\nb"], false, vec![full(b"a")]),
            (&[b"a\nb"], true, vec![full(b"a"), part(b"b")]),
            (&[b"a\n"], true, vec![full(b"a")]),
            (&[&with_end], true, long_parts.clone()),
            (&[&long, b"\n"], true, long_parts),
            (&[&exact, b"\n"], true, vec![part(&exact), full(b"")]),
        ];
        for (chunks, at_end, expected) in table {
            assert!(records_of(chunks, at_end) == expected, "{chunks:?}");
        }
    }

    #[test]
    fn a_file_takes_whole_records_until_it_is_full() {
        let mut batch = Batch::default();
        for text in ["a", "bb", "ccc"] {
            batch.push(Record { time: NOW, stream: Stream::Stdout, is_full: true, text: text.as_bytes() });
        }
        // 42, 43 and 44 bytes.
        for (first, size, max, expected) in [
            (0, 0, 1000, 3),
            (0, 0, 129, 3),
            (0, 0, 128, 2),
            (0, 0, 84, 1),
            (0, 0, 10, 1),
            (0, 1, 10, 0),
            (1, 0, 87, 3),
            (1, 0, 86, 2),
            (1, 950, 1000, 2),
            (2, 1000, 1000, 2),
            (3, 0, 1000, 3),
        ] {
            assert_eq!(batch.fitting(first, size, max), expected, "{first} {size} {max}");
        }
        for (first, written, expected) in
            [(0, 0, 0), (0, 41, 0), (0, 42, 1), (0, 129, 3), (1, 43, 2), (1, 86, 2)]
        {
            assert_eq!(batch.whole(first, written), expected, "{first} {written}");
        }
        assert_eq!((batch.carried(0), batch.carried(2), batch.carried(3)), (9, 4, 0));
        assert_eq!(batch.bytes(1, 2), format!("{NOW} stdout F bb\n").as_bytes());
    }

    #[test]
    fn only_a_torn_record_is_cut_off() {
        let long = [format!("{NOW} stdout F ").as_bytes(), &[b'x'; LONGEST_RECORD]].concat();
        let table: [(&[u8], Mend); 8] = [
            (b"", Mend::Nothing),
            (b"a\n", Mend::Nothing),
            (b"a", Mend::EndLine),
            (b"a\nb", Mend::EndLine),
            (b"a\n2", Mend::Cut(1)),
            (b"a\n2026-11-24T21:25:00.123456789Z stdo", Mend::Cut(35)),
            (b"2026-11-24T21:25:00.123456789Z stdout F te", Mend::Cut(42)),
            (&long, Mend::EndLine),
        ];
        for (end, expected) in table {
            assert_eq!(mend(end), expected, "{}", String::from_utf8_lossy(end));
        }
    }
}
