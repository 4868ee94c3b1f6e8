//! Finds the plans that a plan has several times.
//!
//! Each plan inside of the whole belongs to a class of those that are equal to it. How often a class
//! is used is counted over classes, not over places: what is inside of a CTE that is used three times
//! is used once, by that CTE. So those that are used more than once are the largest equal plans.
//!
//! Plans are equal as DataFusion compares them, and read the same tables: it compares these by name
//! alone, and in a view a name may mean another one.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result, internal_datafusion_err};
use datafusion::datasource::source_as_provider;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::super::settings::Settings;
use super::cost::{cost, cost_of_sharing};
use super::{SharedTable, renamed};

/// Puts scans of tables that are not settled in the place of equal plans.
#[derive(Debug)]
pub(in super::super) struct MarkShared;

impl AnalyzerRule for MarkShared {
    fn name(&self) -> &'static str {
        "gotgan_mark_shared"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        match Settings::of(config).share_plans {
            true => marked(plan, &FIRST),
            false => Ok(plan),
        }
    }
}

/// Plans queries, and plans that are equal after all have been optimized once for all of them.
#[derive(Debug)]
pub(crate) struct SharingPlanner;

#[async_trait]
impl QueryPlanner for SharingPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        if !Settings::of(session.config_options()).share_plans {
            return planner.create_physical_plan(plan, session).await;
        }
        let plan = marked(plan.clone(), &LAST)?;
        planner.create_physical_plan(&plan, session).await
    }
}

/// Which equal plans become tables.
struct Choice {
    /// Whether a plan does work, by its uppermost operator.
    is_work: fn(&LogicalPlan) -> bool,
    /// Whether it is worth while to do it once for so many uses.
    is_cheaper: fn(&LogicalPlan, usize) -> bool,
    table: fn(usize, LogicalPlan) -> SharedTable,
}

/// Before it is known what else filters a plan: joins may be much cheaper with that.
const FIRST: Choice = Choice { is_work: groups, is_cheaper: |_, _| true, table: SharedTable::new };

/// When everything is known.
const LAST: Choice = Choice {
    is_work: |plan| groups(plan) || matches!(plan, LogicalPlan::Join(_)),
    is_cheaper: |plan, n_uses| (n_uses - 1) as f64 * cost(plan) > cost_of_sharing(plan, n_uses),
    table: SharedTable::as_is,
};

/// Whether a plan has to see all that it reads, or picks some of it.
pub(super) fn groups(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::RecursiveQuery(_)
    )
}

/// The plan with scans of tables in the place of plans that are equal.
fn marked(plan: LogicalPlan, choice: &Choice) -> Result<LogicalPlan> {
    let (reads_twice, mut last) = tables(&plan)?;
    if !reads_twice {
        return Ok(plan);
    }
    let mut classes = Classes::default();
    let root = classes.place(&plan)?;
    for class in root.classes() {
        classes.all[class].uses += 1;
    }
    let mut marking = Marking { shared: classes.shared(choice), tables: HashMap::new() };
    if !marking.shared.contains(&true) {
        return Ok(plan);
    }
    marking.marked(plan, &root, &mut |plan| {
        last += 1;
        (choice.table)(last, plan)
    })
}

/// Whether there is a table that is read in two places (most plans have none, and are done), and the
/// highest number of a shared one, also inside of others.
fn tables(plan: &LogicalPlan) -> Result<(bool, usize)> {
    let (mut tables, mut reads_twice, mut last) = (vec![], false, 0);
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let table = identity(scan);
            reads_twice |= tables.contains(&table);
            tables.push(table);
            if let Some(shared) = SharedTable::of(scan) {
                last = last.max(shared.number()).max(self::tables(shared.plan())?.1);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((reads_twice, last))
}

/// What makes two scans read the same table.
fn identity(scan: &TableScan) -> usize {
    match (SharedTable::of(scan), source_as_provider(&scan.source)) {
        (Some(shared), _) => shared.identity(),
        (None, Ok(provider)) => Arc::as_ptr(&provider).cast::<()>() as usize,
        (None, Err(_)) => Arc::as_ptr(&scan.source).cast::<()>() as usize,
    }
}

/// Plans that are equal.
struct Class {
    plan: LogicalPlan,
    /// The classes right below.
    below: Vec<usize>,
    uses: usize,
}

/// A place in the whole plan.
struct Place {
    /// `None` if the plan is not looked for elsewhere.
    class: Option<usize>,
    inputs: Vec<Place>,
    subqueries: Vec<Place>,
}

impl Place {
    /// The uppermost classes of what is here.
    fn classes(&self) -> Vec<usize> {
        match self.class {
            Some(class) => vec![class],
            None => self.below(),
        }
    }

    fn below(&self) -> Vec<usize> {
        self.inputs.iter().chain(&self.subqueries).flat_map(Self::classes).collect()
    }
}

/// The classes of a plan; those below others come first.
#[derive(Default)]
struct Classes {
    all: Vec<Class>,
    /// Candidates: those of a kind of plan over the same classes or tables.
    by_kind: HashMap<(Discriminant<LogicalPlan>, Vec<usize>), Vec<usize>>,
}

impl Classes {
    #[recursive::recursive]
    fn place(&mut self, plan: &LogicalPlan) -> Result<Place> {
        let mut place = Place { class: None, inputs: vec![], subqueries: vec![] };
        // What is inside of a recursion is computed again and again.
        let is_whole = matches!(plan, LogicalPlan::RecursiveQuery(_));
        if !is_whole {
            plan.apply_subqueries(|subquery| {
                place.subqueries.push(self.place(subquery)?);
                Ok(TreeNodeRecursion::Continue)
            })?;
            for input in plan.inputs() {
                place.inputs.push(self.place(input)?);
            }
        }
        // A name for something makes it nothing else.
        let is_name = matches!(plan, LogicalPlan::SubqueryAlias(_) | LogicalPlan::Subquery(_));
        if is_name || is_volatile(plan)? || !is_closed(plan, &mut vec![])? {
            return Ok(place);
        }
        let mut over = place.below();
        if let LogicalPlan::TableScan(scan) = plan {
            over.push(identity(scan));
        } else if is_whole {
            over = identities(plan)?;
        }
        let known = self.by_kind.entry((discriminant(plan), over)).or_default();
        let found = known.iter().copied().find(|class| self.all[*class].plan == *plan);
        let class = found.unwrap_or_else(|| {
            let below = place.below();
            for class in &below {
                self.all[*class].uses += 1;
            }
            known.push(self.all.len());
            self.all.push(Class { plan: plan.clone(), below, uses: 0 });
            self.all.len() - 1
        });
        place.class = Some(class);
        Ok(place)
    }

    /// Which classes are used several times and do work that nothing below them saves.
    fn shared(&self, choice: &Choice) -> Vec<bool> {
        let (mut works, mut shared): (Vec<bool>, Vec<bool>) = (vec![], vec![]);
        for class in &self.all {
            let works_below = class.below.iter().any(|below| works[*below] && !shared[*below]);
            let works_here = works_below || (choice.is_work)(&class.plan);
            let is_used = works_here && class.uses > 1;
            works.push(works_here);
            shared.push(is_used && (choice.is_cheaper)(&class.plan, class.uses));
        }
        shared
    }
}

/// Puts tables in the place of classes.
struct Marking {
    /// Of which classes.
    shared: Vec<bool>,
    tables: HashMap<usize, SharedTable>,
}

/// Makes a table of a plan.
type Make<'a> = &'a mut dyn FnMut(LogicalPlan) -> SharedTable;

impl Marking {
    #[recursive::recursive]
    fn marked(&mut self, plan: LogicalPlan, place: &Place, make: Make) -> Result<LogicalPlan> {
        let Some(class) = place.class.filter(|class| self.shared[*class]) else {
            return self.marked_inside(plan, place, make);
        };
        let schema = Arc::clone(plan.schema());
        if !self.tables.contains_key(&class) {
            // Those inside are made first, and have lower numbers.
            let plan = self.marked_inside(plan, place, make)?;
            self.tables.insert(class, make(plan));
        }
        renamed(self.tables[&class].scan_all()?, &schema)
    }

    fn marked_inside(
        &mut self,
        plan: LogicalPlan,
        place: &Place,
        make: Make,
    ) -> Result<LogicalPlan> {
        if place.below().is_empty() {
            return Ok(plan);
        }
        let missing = || internal_datafusion_err!("a plan has more inputs than it had");
        let mut places = place.subqueries.iter();
        let plan = plan.map_subqueries(|subquery| {
            let place = places.next().ok_or_else(missing)?;
            self.marked(subquery, place, make).map(Transformed::yes)
        })?;
        let mut places = place.inputs.iter();
        let plan = plan.data.map_children(|input| {
            let place = places.next().ok_or_else(missing)?;
            self.marked(input, place, make).map(Transformed::yes)
        });
        plan.data()
    }
}

/// The tables that a plan reads.
fn identities(plan: &LogicalPlan) -> Result<Vec<usize>> {
    let mut tables = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.push(identity(scan));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// Whether a plan may give other rows each time.
fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut is_volatile = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            is_volatile |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(is_volatile)
}

/// Whether a plan needs no row from outside. `around` are the schemas of the plans that the
/// subqueries being looked at are a part of.
fn is_closed(plan: &LogicalPlan, around: &mut Vec<Vec<DFSchemaRef>>) -> Result<bool> {
    let mut is_closed_here = true;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr {
                    let mut schemas = around.iter().flatten();
                    is_closed_here &= schemas.any(|schema| schema.has_column(column));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        around.push(node.inputs().into_iter().map(|input| Arc::clone(input.schema())).collect());
        node.apply_subqueries(|subquery| {
            for inside in subquery.inputs() {
                is_closed_here &= is_closed(inside, around)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        around.pop();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(is_closed_here)
}
