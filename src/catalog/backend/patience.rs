//! How long and how often something is tried again that fails only for now.

use std::time::{Duration, Instant};

/// The time within which a lock is let go, a server is back, another writer has finished.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Time left for trying again, with pauses that grow. A time, not a count, is what is given: it says
/// the same however long one attempt takes.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self { deadline: Instant::now() + time, pause: FIRST_PAUSE }
    }

    /// Pauses; `false` when the time is up. Half of a pause is random, so that those who failed
    /// together do not try again together.
    pub(crate) async fn pause(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::time::sleep(pause.min(left)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
