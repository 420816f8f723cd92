//! How far the bench is: on a terminal a line that lives, elsewhere a line for each case.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Drawing is work too: not more often than this, and never while something is measured.
const PICTURE: Duration = Duration::from_millis(500);

/// The line.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    case: String,
    begun: Instant,
    drawn: Instant,
}

impl Progress {
    /// On stderr.
    pub fn new() -> Self {
        let target = ProgressDrawTarget::stderr();
        let bar = (!target.is_hidden()).then(|| {
            let bar = ProgressBar::with_draw_target(None, target);
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { bar, case: String::new(), begun: Instant::now(), drawn: Instant::now() }
    }

    /// A case begins.
    pub fn begin(&mut self, case: &str) {
        self.case = case.to_owned();
        self.begun = Instant::now();
        self.show("");
    }

    /// So far it is; as in `round 3 of 7`.
    pub fn tell(&mut self, how_far: impl FnOnce() -> String) {
        if self.bar.is_some() && self.drawn.elapsed() >= PICTURE {
            self.show(&how_far());
        }
    }

    /// It is over.
    pub fn end(&mut self) {
        if self.bar.is_none() {
            eprintln!("bench: {} ({} s)", self.case, self.begun.elapsed().as_secs());
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("bench: {line}")),
            None => eprintln!("bench: {line}"),
        }
    }

    fn show(&mut self, how_far: &str) {
        let Some(bar) = &self.bar else { return };
        let seconds = self.begun.elapsed().as_secs();
        bar.set_message(format!("{}: {how_far} ({seconds} s)", self.case));
        bar.tick();
        self.drawn = Instant::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
