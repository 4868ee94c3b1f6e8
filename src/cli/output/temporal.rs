//! The text of dates, times, timestamps and intervals, in DuckDB's forms.
//!
//! A value outside what the calendar can show is written as its number; nothing here panics on
//! what a file may contain.

use std::fmt::Write;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike};

const NANOS: i64 = 1_000_000_000;

type Writer<'a> = Box<dyn Fn(usize, &mut String) + 'a>;

/// Writes the values of a time, timestamp, duration or interval array.
pub(super) fn writer<'a>(array: &'a dyn Array) -> Writer<'a> {
    use DataType as D;
    use TimeUnit as U;
    match array.data_type() {
        D::Timestamp(unit, zone) => {
            let zone = zone.as_deref().map(|zone| zone.parse::<Tz>().ok());
            let per_second = per_second(*unit);
            let value = match unit {
                U::Second => numbers::<TimestampSecondType>(array),
                U::Millisecond => numbers::<TimestampMillisecondType>(array),
                U::Microsecond => numbers::<TimestampMicrosecondType>(array),
                U::Nanosecond => numbers::<TimestampNanosecondType>(array),
            };
            Box::new(move |row, out| timestamp(value(row), per_second, zone, out))
        }
        D::Time32(unit) => {
            let per_second = per_second(*unit);
            let value = match unit {
                U::Second => numbers::<Time32SecondType>(array),
                _ => numbers::<Time32MillisecondType>(array),
            };
            Box::new(move |row, out| clock(value(row), per_second, out))
        }
        D::Time64(unit) => {
            let per_second = per_second(*unit);
            let value = match unit {
                U::Microsecond => numbers::<Time64MicrosecondType>(array),
                _ => numbers::<Time64NanosecondType>(array),
            };
            Box::new(move |row, out| clock(value(row), per_second, out))
        }
        D::Duration(unit) => {
            let per_second = per_second(*unit);
            let value = match unit {
                U::Second => numbers::<DurationSecondType>(array),
                U::Millisecond => numbers::<DurationMillisecondType>(array),
                U::Microsecond => numbers::<DurationMicrosecondType>(array),
                U::Nanosecond => numbers::<DurationNanosecondType>(array),
            };
            Box::new(move |row, out| clock(value(row), per_second, out))
        }
        D::Interval(unit) => intervals(array, *unit),
        other => unreachable!("{other} is not a time"),
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS,
    }
}

fn numbers<'a, T>(array: &'a dyn Array) -> Box<dyn Fn(usize) -> i64 + 'a>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(|row| array.value(row).into())
}

/// Days since 1970-01-01 as an ISO date.
pub(super) fn date(days: i64, out: &mut String) {
    let date = i32::try_from(days).ok().and_then(NaiveDate::from_epoch_days);
    match date {
        Some(date) => iso(date, out),
        None => write!(out, "{days}").unwrap_or_default(),
    }
}

fn iso(date: NaiveDate, out: &mut String) {
    let (era, year) = date.year_ce();
    let _ = write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day());
    if !era {
        out.push_str(" (BC)");
    }
}

fn timestamp(value: i64, per_second: i64, zone: Option<Option<Tz>>, out: &mut String) {
    let nanos = value.rem_euclid(per_second) * (NANOS / per_second);
    let utc = DateTime::from_timestamp(value.div_euclid(per_second), nanos as u32);
    let Some(utc) = utc.map(|utc| utc.naive_utc()) else {
        let _ = write!(out, "{value}");
        return;
    };
    let offset = zone.map(|zone| zone.map_or(0, |zone| seconds_east(zone, &utc)));
    let shift = chrono::TimeDelta::seconds(i64::from(offset.unwrap_or(0)));
    let local = utc.checked_add_signed(shift).unwrap_or(utc);
    iso(local.date(), out);
    out.push(' ');
    let seconds = i64::from(local.num_seconds_from_midnight());
    clock(seconds * NANOS + i64::from(local.nanosecond()), NANOS, out);
    if let Some(offset) = offset {
        write_offset(offset, out);
    }
}

fn seconds_east(zone: Tz, utc: &NaiveDateTime) -> i32 {
    zone.offset_from_utc_datetime(utc).fix().local_minus_utc()
}

fn write_offset(seconds: i32, out: &mut String) {
    let minutes = seconds.abs() / 60;
    out.push(if seconds < 0 { '-' } else { '+' });
    let _ = write!(out, "{:02}", minutes / 60);
    if minutes % 60 != 0 {
        let _ = write!(out, ":{:02}", minutes % 60);
    }
}

/// `[-]HH:MM:SS[.ffffff]`, without trailing zeros; hours may exceed a day.
fn clock(value: i64, per_second: i64, out: &mut String) {
    if value < 0 {
        out.push('-');
    }
    let per_second = per_second.unsigned_abs();
    let (seconds, fraction) =
        (value.unsigned_abs() / per_second, value.unsigned_abs() % per_second);
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        let digits = per_second.ilog10() as usize;
        let text = format!("{fraction:0digits$}");
        let _ = write!(out, ".{}", text.trim_end_matches('0'));
    }
}

fn intervals(array: &dyn Array, unit: IntervalUnit) -> Writer<'_> {
    match unit {
        IntervalUnit::YearMonth => {
            let array = array.as_primitive::<IntervalYearMonthType>();
            Box::new(|row, out| interval(array.value(row), 0, 0, out))
        }
        IntervalUnit::DayTime => {
            let array = array.as_primitive::<IntervalDayTimeType>();
            Box::new(|row, out| {
                let value = array.value(row);
                interval(0, value.days, i64::from(value.milliseconds) * 1_000_000, out);
            })
        }
        IntervalUnit::MonthDayNano => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            Box::new(|row, out| {
                let value = array.value(row);
                interval(value.months, value.days, value.nanoseconds, out);
            })
        }
    }
}

fn interval(months: i32, days: i32, nanos: i64, out: &mut String) {
    let start = out.len();
    for (count, unit) in [(months / 12, "year"), (months % 12, "month"), (days, "day")] {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            let plural = if count.abs() == 1 { "" } else { "s" };
            let _ = write!(out, "{space}{count} {unit}{plural}");
        }
    }
    if nanos != 0 || out.len() == start {
        if out.len() > start {
            out.push(' ');
        }
        clock(nanos, NANOS, out);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;

    use super::*;

    fn shown(write: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn timestamps_drop_trailing_zeros() {
        let five = 1_357_016_400_000_000;
        let array = TimestampMicrosecondArray::from(vec![five, five + 120_000, -1]);
        let write = writer(&array);
        let texts: Vec<String> = (0..3).map(|row| shown(|out| write(row, out))).collect();
        assert_eq!(
            texts,
            ["2013-01-01 05:00:00", "2013-01-01 05:00:00.12", "1969-12-31 23:59:59.999999"]
        );
    }

    #[test]
    fn timestamps_with_a_zone_show_its_offset() {
        for (zone, expected) in [
            ("+00:00", "2013-01-01 05:00:00+00"),
            ("+05:30", "2013-01-01 10:30:00+05:30"),
            ("-03:00", "2013-01-01 02:00:00-03"),
        ] {
            let array = TimestampMicrosecondArray::from(vec![1_357_016_400_000_000]);
            let array = array.with_timezone(zone);
            assert_eq!(shown(|out| writer(&array)(0, out)), expected);
        }
    }

    #[test]
    fn values_beyond_the_calendar_are_numbers() {
        assert_eq!(shown(|out| date(i64::MAX, out)), i64::MAX.to_string());
        assert_eq!(shown(|out| timestamp(i64::MAX, 1, None, out)), i64::MAX.to_string());
        assert_eq!(shown(|out| date(-719_163, out)), "0001-12-31 (BC)");
    }

    #[test]
    fn intervals_are_words() {
        let nanos = (4 * 3600 + 5 * 60 + 6) * NANOS + 700_000_000;
        let text = shown(|out| interval(14, 3, nanos, out));
        assert_eq!(text, "1 year 2 months 3 days 04:05:06.7");
        assert_eq!(shown(|out| interval(0, 0, 0, out)), "00:00:00");
        assert_eq!(shown(|out| interval(0, 0, -3 * 3600 * NANOS, out)), "-03:00:00");
        assert_eq!(shown(|out| interval(24, -1, 0, out)), "2 years -1 day");
    }
}
