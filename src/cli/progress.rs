//! How far a long statement is, on standard error of a terminal.
//!
//! Nothing is shown for the first two seconds. Then: a bar with the time left when the work is
//! estimated, else counters. The drawing runs beside the statement; [`Indicator::clear`] removes
//! it before results are printed.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::{Progress, ProgressReading};

const PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// The bar counts in these parts of the whole.
const PARTS: u64 = 1000;

/// The indicator of one statement; dropping it removes it.
pub(crate) struct Indicator {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Indicator {
    /// Watches `progress` from now on.
    pub(crate) fn start(progress: Progress) -> Self {
        let bar = ProgressBar::with_draw_target(Some(PARTS), ProgressDrawTarget::hidden());
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            shown.set_draw_target(ProgressDrawTarget::stderr());
            loop {
                update(&shown, &progress.read());
                tokio::time::sleep(TICK).await;
            }
        });
        Self { bar, task }
    }

    /// Removes it for good.
    pub(crate) fn clear(&self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

impl Drop for Indicator {
    fn drop(&mut self) {
        self.clear();
    }
}

fn update(bar: &ProgressBar, reading: &ProgressReading) {
    let template = match reading.fraction {
        Some(fraction) => {
            bar.set_position((fraction.clamp(0.0, 1.0) * PARTS as f64) as u64);
            "{percent:>3}% {bar:40.cyan/dim} {elapsed} {msg}, {eta} left"
        }
        None => "{spinner} {elapsed} {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.set_message(counters(reading));
    bar.tick();
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
    fn counters_name_what_is_counted() {
        let mut reading = ProgressReading { rows_read: 1_234_567, ..Default::default() };
        assert_eq!(counters(&reading), "1,234,567 rows read");
        (reading.rows_written, reading.bytes_written) = (1000, 2048);
        assert_eq!(counters(&reading), "1,234,567 rows read, 1,000 written (2.00 KiB)");
    }
}
