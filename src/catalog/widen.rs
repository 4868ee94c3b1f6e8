//! Which type a column may change to, and what becomes of statistics in its old type. Pure.
//!
//! Files keep the type they were written with and are cast when they are read, so a column may only
//! change to a type that holds every value of the old one. Other engines allow more (integers to
//! JSON, timestamps to instants by the reader's time zone): such tables are read, not made.

use super::model::{Column, ColumnStats, ColumnType};

/// Whether every value of `from` is one of `to`, up to the precision of floats, as in DuckDB.
pub(crate) fn widens(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType as C;
    if from == to {
        return true;
    }
    match (from, to) {
        (C::Float32, C::Float64) | (C::Decimal { .. }, C::Float32 | C::Float64) => true,
        (C::Decimal { precision, scale }, C::Decimal { precision: wide, scale: fine }) => {
            fine >= scale && wide - fine >= precision - scale
        }
        (C::Date, C::TimestampS | C::TimestampMs | C::Timestamp)
        | (C::TimestampS, C::TimestampMs | C::Timestamp)
        | (C::TimestampMs, C::Timestamp) => true,
        _ => match (integer(from), integer(to), to) {
            (Some(from), Some(to), _) => match (from.signed, to.signed) {
                (true, false) => false,
                (false, true) => to.bits > from.bits,
                _ => to.bits > from.bits,
            },
            (Some(_), None, C::Float32 | C::Float64) => true,
            (Some(from), None, C::Decimal { precision, scale }) => {
                precision - scale >= from.digits()
            }
            _ => false,
        },
    }
}

struct Integer {
    bits: u8,
    signed: bool,
}

impl Integer {
    /// Decimal digits of its largest value.
    fn digits(&self) -> u8 {
        match (self.bits, self.signed) {
            (8, _) => 3,
            (16, _) => 5,
            (32, _) => 10,
            (_, true) => 19,
            (_, false) => 20,
        }
    }
}

fn integer(column_type: &ColumnType) -> Option<Integer> {
    use ColumnType as C;
    let (bits, signed) = match column_type {
        C::Int8 => (8, true),
        C::Int16 => (16, true),
        C::Int32 => (32, true),
        C::Int64 => (64, true),
        C::UInt8 => (8, false),
        C::UInt16 => (16, false),
        C::UInt32 => (32, false),
        C::UInt64 => (64, false),
        _ => return None,
    };
    Some(Integer { bits, signed })
}

/// A bound written for a column of type `from`, for the column as it is now; `None` if the new type
/// orders or rounds values in another way.
pub(super) fn retyped(bound: &str, from: &ColumnType, to: &ColumnType) -> Option<String> {
    use ColumnType as C;
    match (from, to) {
        _ if from == to => Some(bound.to_owned()),
        // The text is the shortest that gives the same single; as a double it is another number.
        (C::Float32, C::Float64) => {
            let single: f32 = bound.parse().ok()?;
            single.is_finite().then(|| format!("{:?}", f64::from(single)))
        }
        (C::Decimal { .. }, C::Float32 | C::Float64) => None,
        _ => widens(from, to).then(|| bound.to_owned()),
    }
}

/// Statistics of a file that was written when the column had type `from`.
pub(crate) fn retype_stats(stats: &mut ColumnStats, from: &ColumnType, to: &ColumnType) {
    if from == to {
        return;
    }
    stats.min = stats.min.take().and_then(|bound| retyped(&bound, from, to));
    stats.max = stats.max.take().and_then(|bound| retyped(&bound, from, to));
    let is_float = matches!(to, ColumnType::Float32 | ColumnType::Float64);
    if is_float && !matches!(from, ColumnType::Float32 | ColumnType::Float64) {
        stats.contains_nan = Some(false);
    }
}

/// Every leaf column of `columns`, with its type.
pub(crate) fn leaves(columns: &[Column]) -> Vec<&Column> {
    let mut leaves = Vec::new();
    for column in columns {
        match column.children() {
            children if children.is_empty() => leaves.push(column),
            children => {
                for child in children {
                    leaves.extend(self::leaves(std::slice::from_ref(child)));
                }
            }
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What DuckDB 1.5.5 allows of the pairs here, it was asked.
    #[test]
    fn only_wider_types_are_allowed() {
        use ColumnType as C;
        let decimal = |precision, scale| C::Decimal { precision, scale };
        for (from, to, allowed) in [
            (C::Int8, C::Int16, true),
            (C::Int32, C::Int64, true),
            (C::Int64, C::Int32, false),
            (C::UInt8, C::Int16, true),
            (C::UInt8, C::Int8, false),
            (C::UInt32, C::UInt64, true),
            (C::Int8, C::UInt16, false),
            (C::UInt64, C::Int64, false),
            (C::Int32, C::Float64, true),
            (C::Int64, C::Float64, true),
            (C::Int8, decimal(4, 1), true),
            (C::Int16, decimal(4, 1), false),
            (C::Int32, decimal(18, 3), true),
            (C::Int64, decimal(18, 3), false),
            (C::Int64, decimal(38, 10), true),
            (decimal(4, 1), decimal(9, 2), true),
            (decimal(9, 2), decimal(4, 1), false),
            (decimal(18, 3), decimal(18, 4), false),
            (C::Float32, C::Float64, true),
            (C::Float64, C::Float32, false),
            (C::Date, C::Timestamp, true),
            (C::TimestampS, C::Timestamp, true),
            (C::Timestamp, C::TimestampMs, false),
            (C::Int32, C::Varchar, false),
            (C::Boolean, C::Varchar, false),
        ] {
            assert_eq!(widens(&from, &to), allowed, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn bounds_stay_sound() {
        use ColumnType as C;
        let double = retyped("0.1", &C::Float32, &C::Float64);
        assert_eq!(double.as_deref(), Some("0.10000000149011612"));
        assert_eq!(retyped("9", &C::Int32, &C::Int64).as_deref(), Some("9"));
        assert_eq!(retyped("9", &C::Int32, &C::Json), None);
        assert_eq!(retyped("1.5", &C::Decimal { precision: 4, scale: 1 }, &C::Float64), None);
        assert_eq!(retyped("inf", &C::Float32, &C::Float64), None);
    }
}
