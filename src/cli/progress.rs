//! How far a long statement is, on standard error of a terminal.
//!
//! Nothing is shown for the first two seconds. Then one line: a bar with the time left when the
//! work is estimated, else counters. It is drawn beside the statement, and [`Indicator::clear`]
//! removes it before results are printed. The line is drawn here and not by a progress bar of
//! indicatif, which fills the line to its end: the `^C` that the terminal echoes would then wrap,
//! and the line could not be removed any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{HumanBytes, HumanCount};
use tokio::task::JoinHandle;

use crate::{Progress, ProgressReading};

const PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(200);
const BAR: usize = 30;

/// The indicator of one statement; dropping it removes it.
pub(crate) struct Indicator {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Shown,
    Over,
}

impl Indicator {
    /// Watches `progress` from now on.
    pub(crate) fn start(progress: Progress) -> Self {
        let state = Arc::new(Mutex::new(State::Waiting));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let started = Instant::now();
            tokio::time::sleep(PATIENCE).await;
            while draw(&shared, &line(&progress.read(), started.elapsed())) {
                tokio::time::sleep(TICK).await;
            }
        });
        Self { state, task }
    }

    /// Removes it for good.
    pub(crate) fn clear(&self) {
        self.task.abort();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Shown {
            let _ = Term::stderr().clear_line();
        }
        *state = State::Over;
    }
}

impl Drop for Indicator {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether the line was drawn; `false` when the statement is over.
fn draw(state: &Mutex<State>, line: &str) -> bool {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if *state == State::Over {
        return false;
    }
    let term = Term::stderr();
    let width = usize::from(term.size().1).saturating_sub(4);
    let line = console::truncate_str(line, width, "…");
    *state = State::Shown;
    term.clear_line().and_then(|()| term.write_str(&line)).is_ok()
}

fn line(reading: &ProgressReading, elapsed: Duration) -> String {
    let counters = counters(reading);
    let elapsed_text = time(elapsed);
    match reading.fraction.map(|fraction| fraction.clamp(0.0, 1.0)) {
        Some(fraction) if fraction > 0.0 => {
            let filled = (fraction * BAR as f64) as usize;
            let bar = format!("{}{}", "━".repeat(filled), "─".repeat(BAR - filled));
            let left = Duration::from_secs_f64(elapsed.as_secs_f64() * (1.0 - fraction) / fraction);
            let percent = (fraction * 100.0) as u8;
            format!("{percent:>3}% {bar} {elapsed_text}, {} left, {counters}", time(left))
        }
        _ => format!("{elapsed_text}, {counters}"),
    }
}

/// `0:05`, `12:34`, `1:02:03`.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

fn counters(reading: &ProgressReading) -> String {
    let mut text = format!("{} rows read", HumanCount(reading.rows_read));
    if reading.rows_written > 0 || reading.bytes_written > 0 {
        text.push_str(&format!(", {} written", HumanCount(reading.rows_written)));
        text.push_str(&format!(" ({})", HumanBytes(reading.bytes_written)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_estimate_there_are_counters() {
        let mut reading = ProgressReading { rows_read: 1_234_567, ..Default::default() };
        assert_eq!(line(&reading, Duration::from_secs(5)), "0:05, 1,234,567 rows read");
        (reading.rows_written, reading.bytes_written) = (1000, 2048);
        assert_eq!(counters(&reading), "1,234,567 rows read, 1,000 written (2.00 KiB)");
    }

    #[test]
    fn an_estimate_gives_the_time_left() {
        let reading = ProgressReading { fraction: Some(0.25), ..Default::default() };
        let text = line(&reading, Duration::from_secs(1241));
        assert!(text.starts_with(" 25% ━━━━━━━─"), "{text}");
        assert!(text.contains(" 20:41, 1:02:03 left, 0 rows read"), "{text}");
        let early = ProgressReading { fraction: Some(0.0), ..Default::default() };
        assert_eq!(line(&early, Duration::ZERO), "0:00, 0 rows read");
    }
}
