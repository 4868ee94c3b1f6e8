//! When what the catalog keeps of a table is moved into files without anybody asking: there is enough
//! of it for a file, or it has been there for long.
//!
//! Nobody keeps count. The number of a commit's snapshot decides whether it is one that looks, so it
//! makes no difference whether one process commits a thousand times or a thousand processes once.
//! With the golden ratio the commits that look are spread evenly, whatever rhythm the writers have
//! (two tables by turns, say): no table waits for long.

use arrow::datatypes::{DataType, IntervalUnit};
use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use datafusion::scalar::ScalarValue;

use super::{Flushed, Run, Scope, Upkeep};
use crate::catalog::Kept;
use crate::catalog::model::{SnapshotId, TableId};
use crate::error::Result;

/// Whether rows are moved unasked; a table that `auto_compact` excludes is left alone, too.
const AUTO_FLUSH: &str = "gotgan_auto_flush";
/// More rows than this are moved.
const FLUSH_ROWS: &str = "gotgan_flush_rows";
const DEFAULT_ROWS: u64 = 10_000;
/// Rows older than this are moved, with all the others. Not much shorter: every time makes a file.
const FLUSH_AGE: &str = "gotgan_flush_age";
const DEFAULT_AGE: &str = "1 day";

/// One in so many rows makes its commit look.
const ONE_IN: u64 = 64;

/// Whether the commit of a snapshot, which left `rows` more rows to the catalog, looks.
pub(crate) fn looks(snapshot: SnapshotId, rows: u64) -> bool {
    /// 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    snapshot.0.cast_unsigned().wrapping_mul(GOLDEN) / (u64::MAX / ONE_IN) < rows
}

impl Upkeep {
    /// Moves what the catalog keeps of a table into files if it is much, or old. Another writer that
    /// is first is an error: whoever looks next tries again.
    pub(crate) async fn flush_if_due(&self, id: TableId) -> Result<Option<Flushed>> {
        let at = self.catalog.snapshot().await?.id;
        let Some((_, table)) = self.catalog.table_with_id(at, id).await? else {
            return Ok(None);
        };
        let options = self.catalog.options_of(&table).await?;
        let option = |key: &str| options.get(key).map(String::as_str);
        if option(AUTO_FLUSH) == Some("false") {
            return Ok(None);
        }
        let rows = option(FLUSH_ROWS).and_then(|rows| rows.parse().ok()).unwrap_or(DEFAULT_ROWS);
        let age = option(FLUSH_AGE).unwrap_or(DEFAULT_AGE);
        #[allow(clippy::disallowed_methods, reason = "what is old is so by the clock")]
        let since = before(Utc::now(), age);
        match is_due(&self.catalog.kept(id).await?, rows, since) {
            true => self.flush_table(id, Scope::All { schema: None }, Run::Real).await,
            false => Ok(None),
        }
    }
}

fn is_due(kept: &Kept, rows: u64, since: Option<DateTime<Utc>>) -> bool {
    let is_old = kept.since.zip(since).is_some_and(|(kept, since)| kept < since);
    kept.rows > rows || (kept.rows > 0 && is_old)
}

/// The time that lies an interval back; none if the text is no such thing.
fn before(now: DateTime<Utc>, interval: &str) -> Option<DateTime<Utc>> {
    let interval_type = DataType::Interval(IntervalUnit::MonthDayNano);
    let interval = ScalarValue::from(interval).cast_to(&interval_type).ok()?;
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = interval else {
        return None;
    };
    let months = Months::new(u32::try_from(interval.months).ok()?);
    let days = Days::new(u64::try_from(interval.days).ok()?);
    let rest = TimeDelta::nanoseconds(interval.nanoseconds);
    now.checked_sub_months(months)?.checked_sub_days(days)?.checked_sub_signed(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_of_commits_has_one_that_looks() {
        // Whatever the rhythm: every commit, every second one, every 64th.
        for step in [1, 2, 3, 64, 1000] {
            let commits = (0..10_000).map(|n| SnapshotId(n * step));
            let looking: Vec<usize> =
                commits.enumerate().filter(|(_, id)| looks(*id, 1)).map(|(n, _)| n).collect();
            let longest = looking.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(looking.len() > 120 && looking.len() < 200, "{step}: {}", looking.len());
            assert!(longest.is_some_and(|longest| longest < 300), "{step}: {longest:?}");
        }
        assert!((0..1000).all(|n| looks(SnapshotId(n), ONE_IN + 1)));
        assert!((0..1000).all(|n| !looks(SnapshotId(n), 0)));
    }

    #[test]
    fn rows_are_due_when_they_are_many_or_old() {
        let now = DateTime::from_timestamp(1_000_000, 0);
        let kept = |rows| Kept { rows, since: now };
        assert!(!is_due(&kept(10), 10, now));
        assert!(is_due(&kept(11), 10, now));
        let later = now.map(|now| now + TimeDelta::seconds(1));
        assert!(is_due(&kept(1), 10, later));
        assert!(!is_due(&Kept::default(), 0, later));
    }

    #[test]
    fn an_age_is_an_interval() {
        let now = DateTime::from_timestamp(100 * 86_400, 0);
        let days =
            |text| now.and_then(|now| before(now, text)).zip(now).map(|(b, n)| (n - b).num_hours());
        assert_eq!(days("1 day"), Some(24));
        assert_eq!(days("1 hour 60 minutes"), Some(2));
        assert_eq!(days("1 month"), Some(31 * 24));
        assert_eq!(days("soon"), None);
    }
}
