//! What is shown while something takes time: on a terminal a line that lives, elsewhere a line for each that is done.
//!
//! Whoever waits draws it, in between: there is no thread. Of what is done at once nothing is shown.

#![forbid(unsafe_code)]

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done by then needs no progress.
const SHORT: Duration = Duration::from_millis(200);
/// The time between two pictures.
const PICTURE: Duration = Duration::from_millis(100);

/// How far something is.
#[derive(Debug)]
pub struct Progress {
    /// What is being done, as in `stopping`.
    doing: String,
    /// What has been done, as in `stopped`.
    done: String,
    total: usize,
    finished: usize,
    started: Instant,
    drawn: Option<Instant>,
    /// Whether stderr is a terminal on which a line can be drawn anew.
    is_live: bool,
    /// That line, and what it says.
    bar: Option<ProgressBar>,
    text: String,
    is_silent: bool,
}

impl Progress {
    /// None.
    pub fn none() -> Self {
        let mut progress = Self::new("", "", 0);
        progress.is_silent = true;
        progress
    }

    /// Of so many that are being done: `stopping`, `stopped`.
    pub fn new(doing: &str, done: &str, total: usize) -> Self {
        Self {
            doing: doing.into(),
            done: done.into(),
            total,
            finished: 0,
            started: Instant::now(),
            drawn: None,
            is_live: !ProgressDrawTarget::stderr().is_hidden(),
            bar: None,
            text: String::new(),
            is_silent: false,
        }
    }

    /// Draws it, if that is due; when it will be again.
    pub fn tick(&mut self) -> Option<Instant> {
        if self.is_silent || !self.is_live {
            return None;
        }
        let now = Instant::now();
        let due = self.drawn.map_or(self.started + SHORT, |drawn| drawn + PICTURE);
        if now < due {
            return Some(due);
        }
        let seconds = now.duration_since(self.started).as_secs();
        let text = text(&self.doing, self.finished, self.total, seconds);
        let bar = self.bar.get_or_insert_with(line_that_lives);
        bar.tick();
        if self.text != text {
            bar.set_message(text.clone());
            self.text = text;
        }
        self.drawn = Some(now);
        Some(now + PICTURE)
    }

    /// One more is done.
    pub fn finish_one(&mut self, name: &str) {
        self.finished += 1;
        let is_short = self.started.elapsed() < SHORT;
        if self.is_silent || self.total < 2 || is_short || self.is_live {
            return;
        }
        let line = format!("launch: {} {name} ({} of {})\n", self.done, self.finished, self.total);
        // That nobody reads it is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Has something else written to the terminal, above the line that lives.
    pub fn aside<T>(&mut self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.is_silent = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line_that_lives() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    bar.set_style(style);
    bar
}

fn text(doing: &str, finished: usize, total: usize, seconds: u64) -> String {
    let time = super::list::span(seconds);
    if total > 1 { format!("{doing}: {finished} of {total} ({time})") } else { format!("{doing} ({time})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_the_number_is_told() {
        assert_eq!(text("stopping", 3, 7, 61), "stopping: 3 of 7 (1m01s)");
        assert_eq!(text("waiting", 0, 1, 2), "waiting (2s)");
    }
}
