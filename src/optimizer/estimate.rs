//! How many rows a plan gives, and how many values its columns have.
//!
//! Everything starts from what tables say of themselves ([`TableProvider::statistics`]): rows, bounds
//! and, where they were counted, distinct values. What is not known is guessed, always as a number:
//! orders of joins are compared, so a guess that is the same everywhere does no harm.
//!
//! [`TableProvider::statistics`]: datafusion::catalog::TableProvider::statistics

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ColumnStatistics, DFSchema, JoinType, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Filter, Join, Limit, LogicalPlan, TableScan, Union,
};

use super::graph::{Basis, JoinGraph, Key, Relation, Role, unfiltered_domain};
use super::selectivity::keep;

/// The rows of what says nothing of itself.
const UNKNOWN_ROWS: f64 = 1000.0;
/// The fraction of groups that a condition on what is aggregated picks.
const HAVING: f64 = 0.1;
/// At most this fraction of rows is thought to have a match where it is asked which have none.
const MATCHED: f64 = 0.9;
/// At most this fraction of rows are groups of their own, unless their values were counted.
const GROUPS: f64 = 0.5;

/// What is thought of a plan's rows.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    pub(super) rows: f64,
    /// The rows without the filters of the plan.
    pub(super) unfiltered: f64,
    /// By the fields of the plan's schema.
    pub(super) columns: Vec<ColumnEstimate>,
}

/// What is thought of a column's values.
#[derive(Debug, Clone)]
pub(super) struct ColumnEstimate {
    /// How many there are in the table.
    pub(super) distinct: f64,
    pub(super) basis: Basis,
    /// The fraction of these that filters on this column leave.
    pub(super) kept: f64,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
    /// The fraction of rows in which it is NULL.
    pub(super) nulls: Option<f64>,
}

impl ColumnEstimate {
    /// A column of which nothing is known but that `rows` have it.
    pub(super) fn unknown(rows: f64) -> Self {
        let basis = Basis::Rows;
        Self { distinct: rows, basis, kept: 1.0, low: None, high: None, nulls: None }
    }

    /// How many values filters leave.
    pub(super) fn values(&self) -> f64 {
        (self.kept * self.distinct).max(1.0)
    }

    /// The column as a key of a relation.
    pub(super) fn as_key(&self, relation: usize) -> Key {
        Key { relation, distinct: self.distinct, basis: self.basis, kept: self.kept }
    }

    fn constant(value: &ScalarValue) -> Self {
        let at = number(value);
        let nulls = Some(if value.is_null() { 1.0 } else { 0.0 });
        Self { distinct: 1.0, basis: Basis::Range, kept: 1.0, low: at, high: at, nulls }
    }

    fn of_statistics(statistics: &ColumnStatistics, data_type: &DataType, rows: f64) -> Self {
        let bound = |value: Option<&ScalarValue>| value.and_then(number);
        let low = bound(statistics.min_value.get_value());
        let high = bound(statistics.max_value.get_value());
        let counted = statistics.distinct_count.get_value().map(|count| *count as f64);
        let held = low.zip(high).and_then(|(low, high)| values_between(low, high, data_type));
        let (distinct, basis) = match (counted, held) {
            (Some(count), _) => (count, Basis::Counted),
            (None, Some(held)) => (held, Basis::Range),
            (None, None) => (rows, Basis::Rows),
        };
        let nulls = statistics.null_count.get_value().map(|count| (*count as f64 / rows).min(1.0));
        let distinct = distinct.min(rows).max(1.0);
        Self { distinct, basis, kept: 1.0, low, high, nulls }
    }
}

impl Estimate {
    /// `rows` of columns of which nothing is known.
    pub(super) fn unknown(rows: f64, n_columns: usize) -> Self {
        let columns = vec![ColumnEstimate::unknown(rows); n_columns];
        Self { rows, unfiltered: rows, columns }
    }

    /// What is known of a column.
    pub(super) fn column(&self, schema: &DFSchema, column: &Column) -> Option<&ColumnEstimate> {
        let index = schema.index_of_column_by_name(column.relation.as_ref(), &column.name)?;
        self.columns.get(index)
    }

    /// What is thought of an expression over the columns.
    pub(super) fn expression(&self, schema: &DFSchema, expr: &Expr) -> ColumnEstimate {
        match expr {
            Expr::Column(column) => self.column(schema, column).cloned(),
            Expr::Alias(alias) => Some(self.expression(schema, &alias.expr)),
            Expr::Cast(cast) => Some(self.expression(schema, &cast.expr)),
            Expr::Literal(value, _) => Some(ColumnEstimate::constant(value)),
            _ => None,
        }
        .unwrap_or_else(|| ColumnEstimate::unknown(self.unfiltered))
    }

    /// The same with NULL in all columns of a fraction of the rows.
    fn missing(mut self, fraction: f64) -> Self {
        if fraction > 0.0 {
            for column in &mut self.columns {
                let own = column.nulls.unwrap_or_default();
                column.nulls = Some((fraction + (1.0 - fraction) * own).min(1.0));
            }
        }
        self
    }

    /// The same with other rows, as of something that is no longer the table it was.
    fn regrouped(self, rows: f64) -> Self {
        let rows = rows.max(1.0);
        Self { rows, unfiltered: rows, ..self }
    }
}

/// What is thought of the rows of a plan.
#[recursive::recursive]
pub(super) fn estimate(plan: &LogicalPlan) -> Estimate {
    let unknown = |rows: f64| Estimate::unknown(rows, plan.schema().fields().len());
    match plan {
        LogicalPlan::TableScan(scan) => table(scan, &[]),
        LogicalPlan::Filter(filter) => filtered(filter),
        LogicalPlan::Projection(projection) => {
            let input = estimate(&projection.input);
            let schema = projection.input.schema();
            let columns = projection.expr.iter().map(|expr| input.expression(schema, expr));
            Estimate { columns: columns.collect(), ..input }
        }
        LogicalPlan::SubqueryAlias(alias) => estimate(&alias.input),
        LogicalPlan::Subquery(subquery) => estimate(&subquery.subquery),
        LogicalPlan::Repartition(repartition) => estimate(&repartition.input),
        LogicalPlan::Sort(sort) => {
            let input = estimate(&sort.input);
            let rows = sort.fetch.map_or(input.rows, |fetch| input.rows.min(fetch as f64));
            input.regrouped(rows)
        }
        LogicalPlan::Limit(limit) => limited(limit),
        LogicalPlan::Distinct(distinct) => {
            let on = match distinct {
                Distinct::All(_) => None,
                Distinct::On(on) => Some(on.on_expr.len()),
            };
            let input = estimate(distinct.input());
            let columns = input.columns.iter().take(on.unwrap_or(usize::MAX));
            let rows = groups(columns, input.rows);
            match on {
                None => input.regrouped(rows),
                Some(_) => unknown(rows),
            }
        }
        LogicalPlan::Aggregate(aggregate) => aggregated(aggregate),
        LogicalPlan::Window(window) => {
            let mut input = estimate(&window.input);
            let added = ColumnEstimate::unknown(input.rows);
            input.columns.resize(window.schema.fields().len(), added);
            input
        }
        LogicalPlan::Union(union) => united(union),
        LogicalPlan::Join(join) => joined(join),
        LogicalPlan::Values(values) => unknown(values.values.len() as f64),
        LogicalPlan::EmptyRelation(_) => unknown(1.0),
        LogicalPlan::Unnest(unnest) => unknown(3.0 * estimate(&unnest.input).rows),
        LogicalPlan::RecursiveQuery(query) => unknown(10.0 * estimate(&query.static_term).rows),
        other => match other.inputs().as_slice() {
            [input] => unknown(estimate(input).rows),
            _ => unknown(UNKNOWN_ROWS),
        },
    }
}

/// A scan with filters, its own and those of the plan above it.
fn table(scan: &TableScan, above: &[&Expr]) -> Estimate {
    let statistics = source_as_provider(&scan.source).ok().and_then(|table| table.statistics());
    let schema = scan.source.schema();
    let rows = statistics.as_ref().and_then(|s| s.num_rows.get_value().copied());
    let rows = rows.map_or(UNKNOWN_ROWS, |rows| rows as f64).max(1.0);
    let column = |index: usize| {
        let known = statistics.as_ref().and_then(|s| s.column_statistics.get(index));
        known.map_or_else(
            || ColumnEstimate::unknown(rows),
            |known| ColumnEstimate::of_statistics(known, schema.field(index).data_type(), rows),
        )
    };
    let columns = match &scan.projection {
        Some(projection) => projection.iter().map(|index| column(*index)).collect(),
        None => (0..schema.fields().len()).map(column).collect(),
    };
    let mut estimate = Estimate { rows, unfiltered: rows, columns };
    let own = scan.filters.iter().flat_map(split_conjunction).filter(|own| !above.contains(own));
    for filter in own.chain(above.iter().copied()) {
        keep(filter, &scan.projected_schema, &mut estimate);
    }
    if let Some(fetch) = scan.fetch {
        estimate.rows = estimate.rows.min(fetch as f64);
    }
    estimate
}

fn filtered(filter: &Filter) -> Estimate {
    let conjuncts = split_conjunction(&filter.predicate);
    if let LogicalPlan::TableScan(scan) = filter.input.as_ref() {
        // What a scan filters by the plan filters again.
        return table(scan, &conjuncts);
    }
    let schema = filter.input.schema();
    let mut estimate = estimate(&filter.input);
    for conjunct in conjuncts {
        match filter.input.as_ref() {
            LogicalPlan::Aggregate(aggregate) if is_over_aggregates(conjunct, aggregate) => {
                estimate.rows = (HAVING * estimate.rows).max(1.0);
            }
            _ => keep(conjunct, schema, &mut estimate),
        }
    }
    estimate
}

/// Whether a filter looks at more than what rows are grouped by.
fn is_over_aggregates(filter: &Expr, aggregate: &Aggregate) -> bool {
    let position = |column: &Column| {
        aggregate.schema.index_of_column_by_name(column.relation.as_ref(), &column.name)
    };
    let positions = filter.column_refs().into_iter().filter_map(position);
    positions.max().is_some_and(|last| last >= aggregate.group_expr.len())
}

fn limited(limit: &Limit) -> Estimate {
    let input = estimate(&limit.input);
    let rows = match limit.get_fetch_type() {
        Ok(FetchType::Literal(Some(fetch))) => input.rows.min(fetch as f64),
        _ => input.rows,
    };
    input.regrouped(rows)
}

fn aggregated(aggregate: &Aggregate) -> Estimate {
    let input = estimate(&aggregate.input);
    let schema = aggregate.input.schema();
    let grouping = aggregate.group_expr.iter();
    let is_set = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
    if is_set {
        return Estimate::unknown(input.rows, aggregate.schema.fields().len());
    }
    let mut columns: Vec<ColumnEstimate> =
        grouping.map(|expr| input.expression(schema, expr)).collect();
    let rows = groups(columns.iter(), input.rows);
    columns.resize(aggregate.schema.fields().len(), ColumnEstimate::unknown(rows));
    Estimate { rows, unfiltered: rows, columns }
}

/// How many different rows there are among `rows` of `columns`.
fn groups<'a>(columns: impl Iterator<Item = &'a ColumnEstimate>, rows: f64) -> f64 {
    let (mut values, mut are_counted) = (1.0, true);
    for column in columns {
        values *= column.values();
        are_counted &= column.basis == Basis::Counted;
    }
    let most = if are_counted { rows } else { GROUPS * rows };
    f64::min(values, most).max(1.0)
}

fn united(union: &Union) -> Estimate {
    let inputs: Vec<Estimate> = union.inputs.iter().map(|input| estimate(input)).collect();
    let rows: f64 = inputs.iter().map(|input| input.rows).sum();
    let column = |index: usize| {
        let parts = inputs.iter().filter_map(|input| input.columns.get(index));
        // Parts of one thing rather than different things.
        let widest = parts.max_by(|a, b| a.distinct.total_cmp(&b.distinct));
        widest.map_or_else(
            || ColumnEstimate::unknown(rows),
            |widest| ColumnEstimate { low: None, high: None, ..widest.clone() },
        )
    };
    let columns = (0..union.schema.fields().len()).map(column).collect();
    Estimate { rows, unfiltered: rows, columns }
}

fn joined(join: &Join) -> Estimate {
    let (left, right) = (estimate(&join.left), estimate(&join.right));
    let inner = rows_of_join(join, &left, &right);
    let kept = |one: &Estimate, other: &Estimate| {
        let keys = join.on.iter().map(|(l, r)| match std::ptr::eq(one, &left) {
            true => {
                (one.expression(join.left.schema(), l), other.expression(join.right.schema(), r))
            }
            false => {
                (one.expression(join.right.schema(), r), other.expression(join.left.schema(), l))
            }
        });
        one.rows * matched(&keys.collect::<Vec<_>>(), one.unfiltered, other.rows)
    };
    // That nothing is left is a guess too far.
    let left_over =
        |one: &Estimate, other: &Estimate| one.rows - kept(one, other).min(MATCHED * one.rows);
    let rows = match join.join_type {
        JoinType::Inner => inner,
        JoinType::Left => inner.max(left.rows),
        JoinType::Right => inner.max(right.rows),
        JoinType::Full => inner.max(left.rows + right.rows),
        JoinType::LeftSemi => kept(&left, &right),
        JoinType::LeftAnti => left_over(&left, &right),
        JoinType::RightSemi => kept(&right, &left),
        JoinType::RightAnti => left_over(&right, &left),
        JoinType::LeftMark => left.rows,
        JoinType::RightMark => right.rows,
    };
    let of_left = match join.join_type {
        JoinType::Right | JoinType::Full => left_over(&right, &left) / rows.max(1.0),
        _ => 0.0,
    };
    let of_right = match join.join_type {
        JoinType::Left | JoinType::Full => left_over(&left, &right) / rows.max(1.0),
        _ => 0.0,
    };
    let (left, right) = (left.missing(of_left), right.missing(of_right));
    let mut columns = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.columns,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.columns,
        _ => left.columns.into_iter().chain(right.columns).collect(),
    };
    columns.resize(join.schema.fields().len(), ColumnEstimate::unknown(2.0));
    Estimate { rows: rows.max(1.0), unfiltered: rows.max(1.0), columns }
}

/// The rows of an inner join of two inputs by the keys of `join`.
fn rows_of_join(join: &Join, left: &Estimate, right: &Estimate) -> f64 {
    let relation = |estimate: &Estimate| Relation {
        rows: estimate.rows,
        unfiltered: estimate.unfiltered,
        role: Role::Joined,
    };
    let class = |(l, r): &(Expr, Expr)| {
        vec![
            left.expression(join.left.schema(), l).as_key(0),
            right.expression(join.right.schema(), r).as_key(1),
        ]
    };
    let classes: Vec<Vec<Key>> = join.on.iter().map(class).collect();
    let graph = JoinGraph::new(vec![relation(left), relation(right)], &classes, vec![]);
    let rows = graph.rows([0, 1].into_iter().collect());
    let conditions = join.filter.iter().flat_map(split_conjunction).count();
    rows * super::selectivity::BETWEEN_COLUMNS.powi(conditions.min(3) as i32)
}

/// The fraction of rows that have a match among `rows` others, by pairs of keys: their own, from a
/// table of `unfiltered` rows, and those of the others.
pub(super) fn matched(
    keys: &[(ColumnEstimate, ColumnEstimate)],
    unfiltered: f64,
    rows: f64,
) -> f64 {
    if keys.is_empty() {
        return 0.5;
    }
    let (mut all, mut found) = (1.0, 1.0);
    for (own, other) in keys {
        let values = unfiltered_domain(&[own.as_key(0), other.as_key(1)]);
        all *= (own.kept * values).max(1.0);
        found *= (other.kept * values).max(1.0);
    }
    if keys.len() > 1 {
        all = f64::min(all, unfiltered);
    }
    (f64::min(found, rows) / all.max(1.0)).clamp(0.0, 1.0)
}

/// How many different values pairs of keys have, of which the first are from a table of `unfiltered`
/// rows.
pub(super) fn values(keys: &[(ColumnEstimate, ColumnEstimate)], unfiltered: f64) -> f64 {
    let domains =
        keys.iter().map(|(own, other)| unfiltered_domain(&[own.as_key(0), other.as_key(1)]));
    f64::min(domains.product(), unfiltered).max(1.0)
}

/// A value on a line, for comparisons among those of one type.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    Some(match value {
        ScalarValue::Boolean(Some(flag)) => f64::from(u8::from(*flag)),
        ScalarValue::Int8(Some(n)) => f64::from(*n),
        ScalarValue::Int16(Some(n)) => f64::from(*n),
        ScalarValue::Int32(Some(n)) | ScalarValue::Date32(Some(n)) => f64::from(*n),
        ScalarValue::Int64(Some(n))
        | ScalarValue::Date64(Some(n))
        | ScalarValue::TimestampSecond(Some(n), _)
        | ScalarValue::TimestampMillisecond(Some(n), _)
        | ScalarValue::TimestampMicrosecond(Some(n), _)
        | ScalarValue::TimestampNanosecond(Some(n), _) => *n as f64,
        ScalarValue::UInt8(Some(n)) => f64::from(*n),
        ScalarValue::UInt16(Some(n)) => f64::from(*n),
        ScalarValue::UInt32(Some(n)) => f64::from(*n),
        ScalarValue::UInt64(Some(n)) => *n as f64,
        ScalarValue::Float32(Some(n)) => f64::from(*n),
        ScalarValue::Float64(Some(n)) => *n,
        ScalarValue::Decimal32(Some(n), _, scale) => f64::from(*n) / power(*scale),
        ScalarValue::Decimal64(Some(n), _, scale) => *n as f64 / power(*scale),
        ScalarValue::Decimal128(Some(n), _, scale) => *n as f64 / power(*scale),
        _ => return None,
    })
}

fn power(scale: i8) -> f64 {
    10f64.powi(scale.into())
}

/// How many values of a type there are between bounds; `None` where there is no end to them.
pub(super) fn values_between(low: f64, high: f64, data_type: &DataType) -> Option<f64> {
    let step = match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => power(-*scale),
        // In their own unit.
        whole if whole.is_integer() || whole.is_temporal() || *whole == DataType::Boolean => 1.0,
        _ => return None,
    };
    let values = (high - low) / step + 1.0;
    (values.is_finite() && values >= 1.0).then_some(values)
}

/// How many rows the tables of a plan have.
pub(super) fn rows_read(plan: &LogicalPlan) -> f64 {
    let mut rows = 0.0;
    // The closure gives no error.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            rows += table(scan, &[]).unfiltered;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    rows
}

/// Whether a plan has a derived table whose name begins with `starts_with`.
pub(super) fn has_alias(plan: &LogicalPlan, starts_with: &str) -> bool {
    plan.exists(|node| {
        Ok(match node {
            LogicalPlan::SubqueryAlias(alias) => alias.alias.table().starts_with(starts_with),
            _ => false,
        })
    })
    .unwrap_or(false)
}
