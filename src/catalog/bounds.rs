//! Merging a file's statistics into its table's. Pure.
//!
//! Table bounds feed other engines' optimizers, and too narrow ones give wrong answers. So bounds
//! only ever widen, and whatever cannot be compared with certainty becomes unknown.

use std::cmp::Ordering;

use super::model::{ColumnStats, ColumnType};

/// One row of `ducklake_table_column_stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableColumnStats {
    pub(super) contains_null: Option<bool>,
    pub(super) contains_nan: Option<bool>,
    pub(super) min: Option<String>,
    pub(super) max: Option<String>,
}

impl TableColumnStats {
    /// The statistics of a table whose only file has `stats`.
    pub(super) fn of_file(stats: &ColumnStats) -> Self {
        Self {
            contains_null: stats.null_count.map(|nulls| nulls > 0),
            contains_nan: stats.contains_nan,
            min: stats.min.clone(),
            max: stats.max.clone(),
        }
    }

    pub(super) fn has_bounds(&self) -> bool {
        self.min.is_some() || self.max.is_some()
    }

    /// The first values of a column that had NULLs alone until now.
    pub(super) fn begin(&mut self, first: Self) {
        let contains_null = self.contains_null.and_then(|null| Some(null || first.contains_null?));
        *self = Self { contains_null, ..first };
    }

    /// Widens by another file's.
    pub(super) fn widen(&mut self, stats: &ColumnStats, column_type: &ColumnType) {
        let other = Self::of_file(stats);
        let either = |a: Option<bool>, b: Option<bool>| match (a, b) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        self.contains_null = either(self.contains_null, other.contains_null);
        self.contains_nan = either(self.contains_nan, other.contains_nan);
        if !is_boundless(stats) {
            self.min = extreme(self.min.take(), other.min, column_type, Ordering::Less);
            self.max = extreme(self.max.take(), other.max, column_type, Ordering::Greater);
        }
    }
}

/// The first statistics of a table, of several files.
pub(super) fn of_files<'a>(
    files: impl IntoIterator<Item = &'a ColumnStats>,
    column_type: &ColumnType,
) -> TableColumnStats {
    let (mut with_values, mut boundless) = (vec![], vec![]);
    for stats in files {
        if is_boundless(stats) { &mut boundless } else { &mut with_values }.push(stats);
    }
    let mut all = with_values.into_iter().chain(boundless);
    let mut merged = all.next().map(TableColumnStats::of_file).unwrap_or_default();
    all.for_each(|stats| merged.widen(stats, column_type));
    merged
}

/// Whether a file has NULLs and NaN alone: it has no bounds and does not widen any.
fn is_boundless(stats: &ColumnStats) -> bool {
    let is_nan = stats.contains_nan == Some(true) && stats.min.is_none() && stats.max.is_none();
    stats.value_count == Some(0) || is_nan
}

fn extreme(
    a: Option<String>,
    b: Option<String>,
    column_type: &ColumnType,
    wanted: Ordering,
) -> Option<String> {
    let (a, b) = (a?, b?);
    match compare(&b, &a, column_type)? {
        order if order == wanted => Some(b),
        _ => Some(a),
    }
}

/// How two bounds of a column compare; `None` when their text does not tell.
fn compare(a: &str, b: &str, column_type: &ColumnType) -> Option<Ordering> {
    use ColumnType as C;
    match column_type {
        C::Int8 | C::Int16 | C::Int32 | C::Int64 | C::UInt8 | C::UInt16 | C::UInt32 | C::UInt64 => {
            Some(a.parse::<i128>().ok()?.cmp(&b.parse::<i128>().ok()?))
        }
        C::Decimal { scale, .. } => Some(unscaled(a, *scale)?.cmp(&unscaled(b, *scale)?)),
        C::Float32 | C::Float64 => a.parse::<f64>().ok()?.partial_cmp(&b.parse::<f64>().ok()?),
        C::Boolean => Some(boolean(a)?.cmp(&boolean(b)?)),
        C::Date
        | C::TimestampS
        | C::TimestampMs
        | C::Timestamp
        | C::TimestampNs
        | C::TimestampTz => (is_plain_date(a) && is_plain_date(b)).then(|| a.cmp(b)),
        C::Time | C::Varchar | C::Json | C::Uuid => Some(a.cmp(b)),
        _ => None,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// A decimal as an integer of its last digit.
fn unscaled(text: &str, scale: u8) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > scale.into() {
        return None;
    }
    let padded = format!("{whole}{fraction:0<width$}", width = usize::from(scale));
    Some(sign * padded.parse::<i128>().ok()?)
}

/// `YYYY-…` with four digits and no era: such text sorts as its time does.
fn is_plain_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && !text.contains('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(min: Option<&str>, max: Option<&str>, values: u64, nulls: u64) -> ColumnStats {
        ColumnStats {
            min: min.map(Into::into),
            max: max.map(Into::into),
            value_count: Some(values),
            null_count: Some(nulls),
            ..ColumnStats::default()
        }
    }

    #[test]
    fn bounds_widen_by_value_not_by_text() {
        let files = [stats(Some("9"), Some("10"), 2, 0), stats(Some("-3"), Some("100"), 2, 1)];
        let merged = of_files(&files, &ColumnType::Int32);
        assert_eq!((merged.min.as_deref(), merged.max.as_deref()), (Some("-3"), Some("100")));
        assert_eq!(merged.contains_null, Some(true));
        let files =
            [stats(Some("-1.05"), Some("9.50"), 2, 0), stats(Some("-1.5"), Some("10"), 2, 0)];
        let merged = of_files(&files, &ColumnType::Decimal { precision: 10, scale: 2 });
        assert_eq!((merged.min.as_deref(), merged.max.as_deref()), (Some("-1.5"), Some("10")));
    }

    #[test]
    fn what_is_no_number_widens_nothing() {
        let numbers = stats(Some("1.0"), Some("2.5"), 5, 0);
        let nan = ColumnStats { contains_nan: Some(true), ..stats(None, None, 5, 0) };
        for files in [[&numbers, &nan], [&nan, &numbers]] {
            let merged = of_files(files, &ColumnType::Float64);
            assert_eq!((merged.min.as_deref(), merged.max.as_deref()), (Some("1.0"), Some("2.5")));
        }
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let unknown = stats(None, None, 5, 0);
        let known = stats(Some("1"), Some("2"), 5, 0);
        for files in [[&unknown, &known], [&known, &unknown]] {
            let merged = of_files(files, &ColumnType::Int64);
            assert_eq!((merged.min, merged.max), (None, None));
        }
        let far = [stats(Some("0044-03-15 (BC)"), Some("2020-01-01"), 2, 0), known];
        assert_eq!(of_files(&far, &ColumnType::Date).min, None);
    }

    #[test]
    fn files_of_nulls_leave_bounds_alone() {
        let nulls = stats(None, None, 0, 3);
        let known = stats(Some("1"), Some("2"), 5, 0);
        for files in [[&nulls, &known], [&known, &nulls]] {
            let merged = of_files(files, &ColumnType::Int64);
            assert_eq!(merged.min.as_deref(), Some("1"));
            assert_eq!(merged.contains_null, Some(true));
        }
    }
}
