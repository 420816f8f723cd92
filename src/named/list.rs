//! What `launch ps` and `launch stats` show: which sandboxes, and how they are written.
//!
//! Values only.

#![forbid(unsafe_code)]

use super::state::{Health, Phase, State, Usage};
use crate::error::printable;

/// What has to be true of a sandbox that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// It has this name.
    Name(String),
    /// It is in this state: one of [`state_of`].
    State(&'static str),
    /// It has said that it is ready, or has not.
    Ready(bool),
    /// Its health checks say this; none: it has none.
    Health(Option<Health>),
    /// It has this label, with this value if one is given.
    Label(String, Option<String>),
}

/// What [`state_of`] gives.
const STATES: [&str; 8] =
    ["starting", "running", "unhealthy", "reloading", "restarting", "stopping", "exited", "failed"];

const HEALTHS: [Health; 3] = [Health::Starting, Health::Healthy, Health::Unhealthy];

impl Filter {
    /// Reads `WHAT=VALUE`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read(text: &str) -> Result<Self, String> {
        let (what, value) = text.split_once('=').unwrap_or((text, ""));
        let none_of = |known: &[&str]| Err(format!("{text:?}: {value:?} is none of {}", known.join(", ")));
        match what {
            _ if value.is_empty() && WHATS.contains(&what) => {
                Err(format!("{text:?} says not which; say {what}=VALUE"))
            }
            "name" => Ok(Self::Name(value.into())),
            "state" | "phase" => match STATES.into_iter().find(|state| *state == value) {
                Some(state) => Ok(Self::State(state)),
                None => none_of(&STATES),
            },
            "ready" => match value {
                "yes" | "true" => Ok(Self::Ready(true)),
                "no" | "false" => Ok(Self::Ready(false)),
                _ => none_of(&["yes", "no"]),
            },
            "health" => match HEALTHS.into_iter().find(|health| health.name() == value) {
                Some(health) => Ok(Self::Health(Some(health))),
                None if value == "none" => Ok(Self::Health(None)),
                None => none_of(&["starting", "healthy", "unhealthy", "none"]),
            },
            "label" => Ok(match value.split_once('=') {
                Some((key, value)) => Self::Label(key.into(), Some(value.into())),
                None => Self::Label(value.into(), None),
            }),
            _ => Err(format!("{what:?} is none of name, state, ready, health, label")),
        }
    }

    /// Whether it is true of a sandbox.
    pub fn is_true_of(&self, state: &State) -> bool {
        match self {
            Self::Name(name) => state.name == *name,
            Self::State(expected) => state_of(state) == *expected,
            Self::Ready(ready) => state.ready == Some(*ready),
            Self::Health(health) => state.health == *health,
            Self::Label(key, None) => state.labels.contains_key(key),
            Self::Label(key, Some(value)) => state.labels.get(key) == Some(value),
        }
    }
}

/// What a filter can be about.
const WHATS: [&str; 6] = ["name", "state", "phase", "ready", "health", "label"];

/// A table whose columns are as wide as what is in them; the numbers of those given are at their right. The last one, which
/// may have a command of megabytes in it, is as wide as it happens to be.
pub fn table(head: &[&str], numbers: &[usize], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            match (numbers.contains(&column), column + 1 == head.len()) {
                (true, _) => format!("{cell:>width$}"),
                (false, true) => (*cell).into(),
                (false, false) => format!("{cell:<width$}"),
            }
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let heads = std::iter::once(line(head.to_vec()));
    heads.chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect()))).collect()
}

/// How long something has lasted, in its two largest units.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// So many bytes, with three digits.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if count < 1024 {
        return format!("{count}B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, 0);
    // What would be written as 1024 is one of the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1}{}", UNITS[unit]) } else { format!("{value:.0}{}", UNITS[unit]) }
}

/// A command as somebody would type it, in one line.
pub fn command_line(words: &[String]) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_=+./:,@%^".contains(char);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    printable(&words.iter().map(word).collect::<Vec<_>>().join(" "))
}

/// At most so many characters of a text; the last one tells that there were more.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The state that it is in: its phase, unless its health says more.
pub fn state_of(state: &State) -> &'static str {
    match (state.phase, state.health) {
        (Phase::Running, Some(Health::Unhealthy)) => "unhealthy",
        (phase, _) => phase.name(),
    }
}

/// What is in the column STATE: the state, with what else is worth knowing.
pub fn shown_state(state: &State) -> String {
    let more = match (state.phase, state.exit_status) {
        (Phase::Exited | Phase::Failed, Some(status)) => Some(status.to_string()),
        (Phase::Running, _) if state.ready == Some(false) => Some("not ready".into()),
        (Phase::Running, _) if state.health == Some(Health::Healthy) => Some("healthy".into()),
        _ => None,
    };
    let name = state_of(state);
    more.map_or_else(|| name.into(), |more| format!("{name} ({more})"))
}

/// How much of one processor was used between two looks, so many milliseconds apart, in percent.
pub fn percent(before: &Usage, after: &Usage, elapsed_ms: u64) -> f64 {
    if elapsed_ms == 0 {
        return 0.0;
    }
    after.cpu_ms.saturating_sub(before.cpu_ms) as f64 * 100.0 / elapsed_ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::state::some_state;

    #[test]
    fn a_filter_is_true_of_what_it_says() {
        let state = State { ready: Some(false), health: Some(Health::Healthy), ..some_state() };
        for (filter, expected) in [
            ("name=web", true),
            ("name=we", false),
            ("state=running", true),
            ("phase=exited", false),
            ("ready=no", true),
            ("ready=yes", false),
            ("health=healthy", true),
            ("health=none", false),
            ("label=tier", true),
            ("label=tie", false),
            ("label=tier=front", true),
            ("label=tier=back", false),
        ] {
            assert_eq!(Filter::read(filter).map(|it| it.is_true_of(&state)), Ok(expected), "{filter}");
        }
        assert!(!Filter::Ready(false).is_true_of(&some_state()), "nobody asked it to be ready");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (text, reason) in [
            ("", "\"\" is none of name, state, ready, health, label"),
            ("color=red", "\"color\" is none of name, state, ready, health, label"),
            ("name", "\"name\" says not which; say name=VALUE"),
            ("state=", "\"state=\" says not which; say state=VALUE"),
            (
                "state=up",
                "\"state=up\": \"up\" is none of starting, running, unhealthy, reloading, restarting, stopping, exited, failed",
            ),
            ("ready=maybe", "\"ready=maybe\": \"maybe\" is none of yes, no"),
            ("health=ok", "\"health=ok\": \"ok\" is none of starting, healthy, unhealthy, none"),
        ] {
            assert_eq!(Filter::read(text), Err(reason.into()));
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows =
            [vec!["a".into(), "1".into(), "x".into()], vec!["long".into(), "1234".into(), String::new()]];
        assert_eq!(table(&["NAME", "N", "C"], &[1], &rows), "NAME     N  C\na        1  x\nlong  1234\n");
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86399, "23h59m"),
            (86400, "1d00h"),
            (86400 * 400 + 7200, "400d02h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn bytes_have_three_digits_at_most() {
        for (count, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (10 << 10, "10K"),
            ((1 << 20) - 1, "1.0M"),
            (1536 << 10, "1.5M"),
            (5 << 30, "5.0G"),
            (2048 << 40, "2048T"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn a_command_can_be_read_and_typed_and_is_one_line() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect::<Vec<String>>();
        assert_eq!(command_line(&words(&["sh", "-c", "a b", "", "it's"])), "sh -c 'a b' '' 'it'\\''s'");
        assert_eq!(command_line(&words(&["a\n\u{1b}"])), "'a\\n\\u{1b}'");
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdef", 4), "abc…");
    }

    #[test]
    fn unhealthy_is_a_state_and_more_is_said_in_parentheses() {
        for (phase, ready, health, exit_status, expected) in [
            (Phase::Running, None, None, None, "running"),
            (Phase::Running, Some(true), Some(Health::Starting), None, "running"),
            (Phase::Running, Some(true), Some(Health::Healthy), None, "running (healthy)"),
            (Phase::Running, Some(false), None, None, "running (not ready)"),
            (Phase::Running, Some(true), Some(Health::Unhealthy), None, "unhealthy"),
            (Phase::Running, Some(false), Some(Health::Unhealthy), None, "unhealthy (not ready)"),
            (Phase::Restarting, Some(false), Some(Health::Unhealthy), None, "restarting"),
            (Phase::Exited, Some(false), Some(Health::Healthy), Some(7), "exited (7)"),
            (Phase::Failed, None, None, Some(127), "failed (127)"),
        ] {
            let state = State { phase, ready, health, exit_status, ..some_state() };
            assert_eq!(shown_state(&state), expected);
            let is = |filter: &str| Filter::read(filter).map(|filter| filter.is_true_of(&state));
            assert_eq!(is(&format!("state={}", state_of(&state))), Ok(true), "{expected}");
            assert_eq!(is("state=reloading"), Ok(false), "{expected}");
        }
    }

    #[test]
    fn a_busy_processor_is_100_percent() {
        let usage = |cpu_ms| Usage { cpu_ms, ..Usage::default() };
        assert_eq!(percent(&usage(100), &usage(600), 500), 100.0);
        assert_eq!(percent(&usage(100), &usage(50), 500), 0.0);
        assert_eq!(percent(&usage(0), &usage(1), 0), 0.0);
    }
}
