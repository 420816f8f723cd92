//! Command lines as getopt(3) reads them, with its messages: short options in a bundle, long ones and their
//! beginnings, values in the same word or the next. Options end at the first word that is none. Pure.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The options of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// The short ones, each with a colon behind it if it takes a value, as in getopt(3).
    pub(super) short: &'static str,
    /// The long ones, each with its short form.
    pub(super) long: &'static [(&'static str, u8)],
}

/// An option with its value, or what getopt(3) says of it (without the program's name and the end of the line).
pub(super) type Found = Result<(u8, OsString), Vec<u8>>;

impl Options {
    fn takes_value(self, option: u8) -> Option<bool> {
        let at = self.short.bytes().position(|known| known == option && option != b':')?;
        Some(self.short.as_bytes().get(at + 1) == Some(&b':'))
    }

    fn named(self, name: &[u8]) -> Vec<(&'static str, u8)> {
        let exact = self.long.iter().find(|(known, _)| known.as_bytes() == name);
        let beginning = || self.long.iter().filter(|(known, _)| known.as_bytes().starts_with(name));
        exact.map_or_else(|| beginning().copied().collect(), |exact| vec![*exact])
    }
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Getopt<'a> {
    options: Options,
    words: &'a [OsString],
    bundle: &'a [u8],
}

impl<'a> Getopt<'a> {
    pub(super) fn new(options: Options, words: &'a [OsString]) -> Self {
        Self { options, words, bundle: b"" }
    }

    /// All that is left when there are no more options.
    pub(super) fn rest(self) -> Vec<OsString> {
        self.words.to_vec()
    }

    fn next_word(&mut self) -> Option<&'a OsStr> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn short(&mut self, option: u8, rest: &'a [u8]) -> Found {
        self.bundle = rest;
        let said = |text: &str| [text.as_bytes(), b" -- '", &[option], b"'"].concat();
        match self.options.takes_value(option) {
            None => Err(said("invalid option")),
            Some(false) => Ok((option, OsString::new())),
            Some(true) => {
                let attached = std::mem::take(&mut self.bundle);
                let value =
                    if attached.is_empty() { self.next_word() } else { Some(OsStr::from_bytes(attached)) };
                value
                    .map(|value| (option, value.to_owned()))
                    .ok_or_else(|| said("option requires an argument"))
            }
        }
    }

    fn long(&mut self, word: &'a [u8]) -> Found {
        let end = word.iter().position(|byte| *byte == b'=');
        let (name, value) = end.map_or((word, None), |end| (&word[..end], Some(&word[end + 1..])));
        match self.options.named(name).as_slice() {
            [] => Err([b"unrecognized option '--", word, b"'"].concat()),
            [(name, option)] => {
                let said = |text: &str| format!("option '--{name}' {text}").into_bytes();
                match (self.options.takes_value(*option), value) {
                    (Some(true), Some(value)) => Ok((*option, OsString::from_vec(value.to_vec()))),
                    (Some(true), None) => self
                        .next_word()
                        .map(|value| (*option, value.to_owned()))
                        .ok_or_else(|| said("requires an argument")),
                    (_, Some(_)) => Err(said("doesn't allow an argument")),
                    (_, None) => Ok((*option, OsString::new())),
                }
            }
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| format!(" '--{name}'")).collect();
                let said = ["' is ambiguous; possibilities:", &names.concat()].concat();
                Err([b"option '--", word, said.as_bytes()].concat())
            }
        }
    }
}

impl Iterator for Getopt<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some((option, rest)) = self.bundle.split_first() {
            return Some(self.short(*option, rest));
        }
        let word = self.words.first()?.as_bytes();
        match word {
            b"--" => {
                self.next_word();
                None
            }
            [b'-', b'-', long @ ..] if !self.options.long.is_empty() => {
                self.next_word();
                Some(self.long(long))
            }
            [b'-', option, rest @ ..] => {
                self.next_word();
                Some(self.short(*option, rest))
            }
            _ => None,
        }
    }
}

/// A whole number at the start of `text` as strtol(3) reads it in base 10, and what follows it.
pub(super) fn leading_number(text: &[u8]) -> Option<(i64, &[u8])> {
    let text = &text[text.iter().take_while(|byte| b" \t\n\x0b\x0c\r".contains(byte)).count()..];
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    let digit = |value: i64, byte: &u8| value.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
    let value = digits.iter().fold(0, digit);
    (length > 0).then_some((if is_negative { -value } else { value }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { short: "ae:b", long: &[("alpha", b'a'), ("alto", b'b'), ("echo", b'e')] };

    /// Each option with its value or message, and the words that are left.
    fn read(options: Options, line: &str) -> (Vec<String>, Vec<OsString>) {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        let mut getopt = Getopt::new(options, &words);
        let text = |found: Found| match found {
            Ok((option, value)) => format!("{}{}", option as char, value.display()),
            Err(message) => String::from_utf8(message).unwrap(),
        };
        (getopt.by_ref().map(text).collect(), getopt.rest())
    }

    #[test]
    fn options_are_found_in_bundles_and_end_at_the_first_other_word() {
        for (line, options, rest) in [
            ("-a -b x -a", vec!["a", "b"], vec!["x", "-a"]),
            ("-ab -- -a", vec!["a", "b"], vec!["-a"]),
            ("-aefoo -e -b -", vec!["a", "efoo", "e-b"], vec!["-"]),
            ("--alp --echo=1 --ech 2 -- --", vec!["a", "e1", "e2"], vec!["--"]),
            ("", vec![], vec![]),
        ] {
            assert_eq!(
                read(OPTIONS, line),
                (
                    options.into_iter().map(String::from).collect(),
                    rest.into_iter().map(OsString::from).collect()
                ),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_getopts_words() {
        for (line, said) in [
            ("-z", "invalid option -- 'z'"),
            ("-:", "invalid option -- ':'"),
            ("-e", "option requires an argument -- 'e'"),
            ("--echo", "option '--echo' requires an argument"),
            ("--al", "option '--al' is ambiguous; possibilities: '--alpha' '--alto'"),
            ("--alpha=2", "option '--alpha' doesn't allow an argument"),
            ("--nix=2", "unrecognized option '--nix=2'"),
        ] {
            assert_eq!(read(OPTIONS, line).0, [said], "{line}");
        }
        let short = Options { long: &[], ..OPTIONS };
        assert_eq!(read(short, "--a").0, ["invalid option -- '-'", "a"]);
    }

    #[test]
    fn numbers_are_read_as_c_does() {
        let read = |text: &'static str| leading_number(text.as_bytes());
        assert_eq!(read(" +12x"), Some((12, b"x".as_slice())));
        assert_eq!(read("-3"), Some((-3, b"".as_slice())));
        assert_eq!(read("99999999999999999999"), Some((i64::MAX, b"".as_slice())));
        assert_eq!([read(""), read("x"), read("- 1")], [None; 3]);
    }
}
