//! A plan that is needed several times is computed once.
//!
//! DataFusion puts the plan of a CTE or a view wherever it is named, and each copy is planned and
//! computed for itself (TPC-H q15, TPC-DS q04 four to six times). Here equal plans that do work
//! become scans of one [`SharedTable`]:
//!
//! ```text
//! analyzed     mark: equal plans ──> scans of a SharedTable that is not settled
//! optimized    … all other rules: what is filtered and which columns are needed gets to the scans
//!              settle: a scan of what is computed once, or a plan of its own for each
//! planned      plans that are equal in the end, joins as well, become scans of settled tables
//! physical     SharedTable::scan: a SharedExec for each scan
//!              show: one of them has the plan as its child
//! ```
//!
//! What is computed once is filtered by what any of the scans asks for: `a OR b` if one wants the
//! rows of `a` and the other those of `b`. It is worth while if that costs less than the copies
//! together. Plans that must not be the same, those with `random()`, are not marked, nor are those of a
//! subquery that depend on the row outside, nor anything inside of a recursion.

mod cost;
mod mark;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan};
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use self::cost::{cost, cost_of_sharing};
pub(super) use self::mark::MarkShared;
pub(crate) use self::mark::SharingPlanner;
use self::mark::groups;
pub(super) use self::table::SharedTable;
use crate::exec::SharedExec;

/// Settles what is shared, once it is known what is asked of it.
#[derive(Debug)]
pub(super) struct SettleShared;

impl OptimizerRule for SettleShared {
    fn name(&self) -> &'static str {
        "gotgan_settle_shared"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        // All scans of a table are looked at together.
        None
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let Some(last) = unsettled(&plan)?.last().map(|scan| scan.table.number()) else {
            return Ok(Transformed::no(plan));
        };
        let optimizer = Optimizer::with_rules(super::rules_for_parts());
        let mut settling = Settling { config, optimizer, plan, shared: vec![], last };
        // A table that is inside of another has a lower number, and what asks for it is known once
        // the other one is settled.
        for number in (1..=last).rev() {
            settling.settle(number)?;
        }
        settling.finish().map(Transformed::yes)
    }
}

/// A scan of a table that is not settled.
#[derive(Clone)]
struct Scan {
    table: SharedTable,
    /// The columns of the table that it gives.
    columns: Vec<usize>,
    /// Of which rows.
    filters: Vec<Expr>,
}

impl Scan {
    fn of(scan: &TableScan) -> Option<Self> {
        let table = SharedTable::of(scan).filter(|table| !table.is_settled())?;
        let columns = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..table.n_columns()).collect(),
        };
        let filters = scan.filters.iter().flat_map(split_conjunction);
        let filters = filters.filter(|filter| is_plain(filter)).cloned().collect();
        Some(Self { table, columns, filters })
    }

    /// A scan of all that any of some scans asks for.
    fn of_all(scans: &[Self]) -> Self {
        let table = scans[0].table.clone();
        let needed = |index: &usize| scans.iter().any(|scan| scan.columns.contains(index));
        let mut columns: Vec<usize> = (0..table.n_columns()).filter(needed).collect();
        if columns.is_empty() {
            columns.push(0);
        }
        let filtered = |scan: &Self| -> BTreeSet<Column> {
            scan.filters.iter().flat_map(Expr::column_refs).cloned().collect()
        };
        let common = scans.iter().map(filtered).reduce(|all, one| &all & &one).unwrap_or_default();
        // A condition on one column may get where one on several does not: below an aggregate.
        let singles = common.iter().map(|column| BTreeSet::from([column.clone()]));
        let singles: Vec<Vec<Expr>> = singles.map(|one| asked_of(scans, &one)).collect();
        let together = asked_of(scans, &common);
        let all_pairs: usize = singles.iter().map(Vec::len).product();
        let tells_more = together.len() < all_pairs || singles.iter().any(Vec::is_empty);
        let filters = singles.into_iter().chain(tells_more.then_some(together));
        Self { table, columns, filters: filters.filter_map(disjunction).collect() }
    }
}

/// The different conditions of scans, as far as they are on these columns; nothing if one of the scans
/// has none.
fn asked_of(scans: &[Scan], columns: &BTreeSet<Column>) -> Vec<Expr> {
    let mut conditions: Vec<Expr> = vec![];
    for scan in scans {
        let is_over = |filter: &&Expr| {
            filter.column_refs().into_iter().all(|column| columns.contains(column))
        };
        match conjunction(scan.filters.iter().filter(is_over).cloned()) {
            Some(own) if !conditions.contains(&own) => conditions.push(own),
            Some(_) => {}
            None => return vec![],
        }
    }
    conditions
}

/// Whether a filter can be evaluated anywhere.
fn is_plain(filter: &Expr) -> bool {
    let is_bound = filter.exists(|expr| {
        Ok(match expr {
            Expr::OuterReferenceColumn(..)
            | Expr::ScalarSubquery(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::Placeholder(_) => true,
            expr => expr.is_volatile_node(),
        })
    });
    !is_bound.unwrap_or(true)
}

/// The scans of tables that are not settled, by their tables' numbers.
fn unsettled(plan: &LogicalPlan) -> Result<Vec<Scan>> {
    let mut scans = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans.extend(Scan::of(scan));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    scans.sort_by_key(|scan| scan.table.number());
    Ok(scans)
}

/// The work of the rule on one plan.
struct Settling<'a> {
    config: &'a dyn OptimizerConfig,
    optimizer: Optimizer,
    plan: LogicalPlan,
    /// What is shared, those first that others may be inside of.
    shared: Vec<Shared>,
    /// The highest number of a table.
    last: usize,
}

/// What is computed once.
struct Shared {
    scan: Scan,
    plan: LogicalPlan,
}

impl Settling<'_> {
    /// Settles a table, and its parts if it is not shared as a whole.
    fn settle(&mut self, number: usize) -> Result<()> {
        let mut scans = vec![];
        for plan in std::iter::once(&self.plan).chain(self.shared.iter().map(|one| &one.plan)) {
            scans.extend(unsettled(plan)?);
        }
        scans.retain(|scan| scan.table.number() == number);
        let before = self.last;
        let table = match scans.as_slice() {
            [] => return Ok(()),
            [scan] => scan.table.clone(),
            [first, ..] => match self.if_cheaper(&scans)? {
                Some(shared) => {
                    self.shared.push(shared);
                    return Ok(());
                }
                None => first.table.of_plan(self.in_parts(LogicalPlan::clone(first.table.plan()))?),
            },
        };
        self.copy_to_scans(&table)?;
        for part in before + 1..=self.last {
            self.settle(part)?;
        }
        Ok(())
    }

    /// The plan with tables in the place of those inputs of its joins and unions that do work.
    #[recursive::recursive]
    fn in_parts(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let parts = match &plan {
            LogicalPlan::Join(_) | LogicalPlan::Union(_) => {
                plan.map_children(|part| self.as_part(part).map(Transformed::yes))
            }
            LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
                plan.map_children(|input| self.in_parts(input).map(Transformed::yes))
            }
            _ => return Ok(plan),
        };
        parts.data()
    }

    fn as_part(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::SubqueryAlias(_) => {
                let part = plan.map_children(|input| self.as_part(input).map(Transformed::yes));
                part.data()
            }
            LogicalPlan::Join(_) => self.in_parts(plan),
            _ if !plan.exists(|node| Ok(groups(node)))? => Ok(plan),
            _ => {
                self.last += 1;
                let schema = Arc::clone(plan.schema());
                renamed(SharedTable::new(self.last, plan).scan_all()?, &schema)
            }
        }
    }

    /// Puts plans of their own in the place of the scans of a table.
    fn copy_to_scans(&mut self, table: &SharedTable) -> Result<()> {
        let copied = |plan: LogicalPlan, settling: &Self| {
            replaced(plan, &mut |scan| match Scan::of(scan) {
                Some(scan) if scan.table.number() == table.number() => {
                    settling.copy(&Scan { table: table.clone(), ..scan }).map(Some)
                }
                _ => Ok(None),
            })
        };
        self.plan = copied(self.plan.clone(), self)?;
        for index in 0..self.shared.len() {
            self.shared[index].plan = copied(self.shared[index].plan.clone(), self)?;
        }
        Ok(())
    }

    /// What the scans of a table share, if that costs less than to compute it for each of them.
    fn if_cheaper(&self, scans: &[Scan]) -> Result<Option<Shared>> {
        let shared = Scan::of_all(scans);
        let plan = self.optimized(&shared)?;
        let (once, reading) = (cost(&plan), cost_of_sharing(&plan, scans.len()));
        // Those that ask for all cost as much as what is shared.
        let n_full = scans.iter().filter(|scan| scan.filters.is_empty()).count();
        let mut copies = n_full as f64 * once;
        let mut others = scans.iter().filter(|scan| !scan.filters.is_empty());
        while copies <= once + reading {
            let Some(scan) = others.next() else { return Ok(None) };
            copies += cost(&self.optimized(scan)?);
        }
        Ok(Some(Shared { scan: shared, plan }))
    }

    /// What a scan gives, optimized.
    fn optimized(&self, scan: &Scan) -> Result<LogicalPlan> {
        self.optimizer.optimize(computed(scan)?, self.config, |_, _| {})
    }

    /// What a scan gives in its place.
    fn copy(&self, scan: &Scan) -> Result<LogicalPlan> {
        let plan = Arc::new(self.optimized(scan)?);
        SubqueryAlias::try_new(plan, scan.table.name()).map(LogicalPlan::SubqueryAlias)
    }

    /// The plan with scans of settled tables.
    fn finish(self) -> Result<LogicalPlan> {
        let mut settled: BTreeMap<usize, SharedTable> = BTreeMap::new();
        let place = |plan, settled: &BTreeMap<usize, SharedTable>| {
            replaced(plan, &mut |scan| {
                let table = SharedTable::of(scan).filter(|table| !table.is_settled());
                let table = table.and_then(|table| settled.get(&table.number()));
                Ok(table.map(|table| {
                    LogicalPlan::TableScan(TableScan { source: table.source(), ..scan.clone() })
                }))
            })
        };
        for Shared { scan: Scan { table, columns, filters }, plan } in self.shared.into_iter().rev()
        {
            let plan = place(plan, &settled)?;
            settled.insert(table.number(), table.settled(plan, &columns, &filters)?);
        }
        place(self.plan, &settled)
    }
}

/// The plan of a scan, with the names that the columns of the table have.
fn computed(scan: &Scan) -> Result<LogicalPlan> {
    let table = &scan.table;
    let mut plan = Arc::clone(table.plan());
    let columns = plan.schema().columns();
    if let Some(filter) = conjunction(scan.filters.iter().cloned()) {
        let filter = filter.transform(|expr| match table.position(&expr) {
            Some(index) => Ok(Transformed::yes(Expr::Column(columns[index].clone()))),
            None => Ok(Transformed::no(expr)),
        });
        plan = Arc::new(LogicalPlan::Filter(Filter::try_new(filter.data()?, plan)?));
    }
    let column = |index: &usize| {
        let (column, name) = (&columns[*index], table.column_name(*index));
        match column.name == name {
            true => Expr::Column(column.clone()),
            false => Expr::Column(column.clone()).alias(name),
        }
    };
    let columns = scan.columns.iter().map(column).collect();
    Projection::try_new(columns, plan).map(LogicalPlan::Projection)
}

/// The plan with other plans for some of its scans, which give the same columns.
fn replaced(
    plan: LogicalPlan,
    other: &mut impl FnMut(&TableScan) -> Result<Option<LogicalPlan>>,
) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::TableScan(scan) => Ok(match other(scan)? {
            Some(other) => Transformed::yes(other),
            None => Transformed::no(node),
        }),
        _ => Ok(Transformed::no(node)),
    });
    replaced.data()
}

/// A scan that gives columns the names that they had in a plan.
fn renamed(scan: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    let columns = scan.schema().columns().into_iter().zip(schema.iter());
    let columns = columns.map(|(column, (qualifier, field))| {
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    });
    let projection =
        Projection::try_new_with_schema(columns.collect(), Arc::new(scan), Arc::clone(schema))?;
    Ok(LogicalPlan::Projection(projection))
}

/// Shows what is shared in one of the places where it is read.
#[derive(Debug)]
pub(super) struct ShowShared;

impl PhysicalOptimizerRule for ShowShared {
    fn name(&self) -> &'static str {
        "gotgan_show_shared"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let shown = plan.transform_up(|node| {
            let shared = node.downcast_ref::<SharedExec>();
            Ok(match shared.and_then(SharedExec::showing_input) {
                Some(shown) => Transformed::yes(Arc::new(shown) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        });
        shown.data()
    }
}
