//! What the rules make of the queries of TPC-H, with the statistics that a catalog has of its tables
//! at scale 1. No data is needed: a plan is shown as its tables and joins alone.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, JoinType, Result, ScalarValue, Statistics, project_schema,
};
use datafusion::datasource::TableType;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableProviderFilterPushDown};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::share::SharedTable;
use super::{Settings, SharingPlanner, analyzer_rule, physical_rules, rules};

/// A column: its name, its type, and its bounds as integers (decimals in cents, days since 1970).
type Column = (&'static str, Kind, i64, i64);

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Money,
    Day,
    /// Bounds of text tell nothing.
    Text,
}
use Kind::{Day, Int, Money, Text};

/// TPC-H at scale 1.
const TABLES: [(&str, usize, &[Column]); 8] = [
    ("region", 5, &[("r_regionkey", Int, 0, 4), ("r_name", Text, 0, 0), ("r_comment", Text, 0, 0)]),
    (
        "nation",
        25,
        &[
            ("n_nationkey", Int, 0, 24),
            ("n_name", Text, 0, 0),
            ("n_regionkey", Int, 0, 4),
            ("n_comment", Text, 0, 0),
        ],
    ),
    (
        "supplier",
        10_000,
        &[
            ("s_suppkey", Int, 1, 10_000),
            ("s_name", Text, 0, 0),
            ("s_address", Text, 0, 0),
            ("s_nationkey", Int, 0, 24),
            ("s_phone", Text, 0, 0),
            ("s_acctbal", Money, -99_822, 999_972),
            ("s_comment", Text, 0, 0),
        ],
    ),
    (
        "customer",
        150_000,
        &[
            ("c_custkey", Int, 1, 150_000),
            ("c_name", Text, 0, 0),
            ("c_address", Text, 0, 0),
            ("c_nationkey", Int, 0, 24),
            ("c_phone", Text, 0, 0),
            ("c_acctbal", Money, -99_999, 999_999),
            ("c_mktsegment", Text, 0, 0),
            ("c_comment", Text, 0, 0),
        ],
    ),
    (
        "part",
        200_000,
        &[
            ("p_partkey", Int, 1, 200_000),
            ("p_name", Text, 0, 0),
            ("p_mfgr", Text, 0, 0),
            ("p_brand", Text, 0, 0),
            ("p_type", Text, 0, 0),
            ("p_size", Int, 1, 50),
            ("p_container", Text, 0, 0),
            ("p_retailprice", Money, 90_100, 209_899),
            ("p_comment", Text, 0, 0),
        ],
    ),
    (
        "partsupp",
        800_000,
        &[
            ("ps_partkey", Int, 1, 200_000),
            ("ps_suppkey", Int, 1, 10_000),
            ("ps_availqty", Int, 1, 9_999),
            ("ps_supplycost", Money, 100, 100_000),
            ("ps_comment", Text, 0, 0),
        ],
    ),
    (
        "orders",
        1_500_000,
        &[
            ("o_orderkey", Int, 1, 6_000_000),
            ("o_custkey", Int, 1, 149_999),
            ("o_orderstatus", Text, 0, 0),
            ("o_totalprice", Money, 85_771, 55_528_516),
            ("o_orderdate", Day, 8_035, 10_440),
            ("o_orderpriority", Text, 0, 0),
            ("o_clerk", Text, 0, 0),
            ("o_shippriority", Int, 0, 0),
            ("o_comment", Text, 0, 0),
        ],
    ),
    (
        "lineitem",
        6_001_215,
        &[
            ("l_orderkey", Int, 1, 6_000_000),
            ("l_partkey", Int, 1, 200_000),
            ("l_suppkey", Int, 1, 10_000),
            ("l_linenumber", Int, 1, 7),
            ("l_quantity", Money, 100, 5_000),
            ("l_extendedprice", Money, 90_100, 10_494_950),
            ("l_discount", Money, 0, 10),
            ("l_tax", Money, 0, 8),
            ("l_returnflag", Text, 0, 0),
            ("l_linestatus", Text, 0, 0),
            ("l_shipdate", Day, 8_036, 10_561),
            ("l_commitdate", Day, 8_065, 10_530),
            ("l_receiptdate", Day, 8_038, 10_591),
            ("l_shipinstruct", Text, 0, 0),
            ("l_shipmode", Text, 0, 0),
            ("l_comment", Text, 0, 0),
        ],
    ),
];

/// A table of which only statistics exist.
#[derive(Debug)]
struct Known {
    schema: SchemaRef,
    statistics: Statistics,
}

impl Known {
    fn new(rows: usize, columns: &[Column]) -> Self {
        let field = |(name, kind, ..): &Column| {
            let data_type = match kind {
                Int => DataType::Int64,
                Money => DataType::Decimal128(15, 2),
                Day => DataType::Date32,
                Text => DataType::Utf8View,
            };
            Field::new(*name, data_type, true)
        };
        let bound = |kind: Kind, at: i64| match kind {
            Int => Precision::Inexact(ScalarValue::Int64(Some(at))),
            Money => Precision::Inexact(ScalarValue::Decimal128(Some(at.into()), 15, 2)),
            Day => Precision::Inexact(ScalarValue::Date32(i32::try_from(at).ok())),
            Text => Precision::Absent,
        };
        let column = |(_, kind, low, high): &Column| ColumnStatistics {
            min_value: bound(*kind, *low),
            max_value: bound(*kind, *high),
            null_count: Precision::Inexact(0),
            ..ColumnStatistics::new_unknown()
        };
        let statistics = Statistics {
            num_rows: Precision::Inexact(rows),
            total_byte_size: Precision::Absent,
            column_statistics: columns.iter().map(column).collect(),
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        Self { schema: Arc::new(schema), statistics }
    }
}

#[async_trait]
impl TableProvider for Known {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics.clone())
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)))
    }
}

/// The joins of a plan: `(hashed probing)` with a word for all but inner ones, `[…]` for what is
/// aggregated, `shared:` before what is computed once for several places, a star after a table with filters.
fn shape(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let star = if scan.filters.is_empty() { "" } else { "*" };
            match SharedTable::of(scan) {
                Some(shared) => format!("shared:{}", shape(shared.plan())),
                None => format!("{}{star}", scan.table_name.table()),
            }
        }
        LogicalPlan::Join(join) => {
            let kind = match join.join_type {
                JoinType::Inner if join.on.is_empty() => " x".to_owned(),
                JoinType::Inner => String::new(),
                kind => format!(" {kind}"),
            };
            format!("({}{kind} {})", shape(&join.left), shape(&join.right))
        }
        LogicalPlan::Aggregate(aggregate) => format!("[{}]", shape(&aggregate.input)),
        LogicalPlan::Distinct(Distinct::All(input)) => format!("[{}]", shape(input)),
        LogicalPlan::SubqueryAlias(alias) if alias.alias.table().starts_with("__group_keys") => {
            format!("keys:{}", shape(&alias.input))
        }
        other => {
            let mut shapes = String::new();
            for input in other.inputs() {
                let space = if shapes.is_empty() { "" } else { " " };
                let _ = write!(shapes, "{space}{}", shape(input));
            }
            shapes
        }
    }
}

fn context(settings: Settings) -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().extensions.insert(settings);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_analyzer_rule(analyzer_rule())
        .with_optimizer_rules(rules())
        .with_physical_optimizer_rules(physical_rules())
        .with_query_planner(Arc::new(SharingPlanner))
        .build();
    let context = SessionContext::new_with_state(state);
    for (name, rows, columns) in TABLES {
        context.register_table(name, Arc::new(Known::new(rows, columns))).unwrap();
    }
    context
}

/// The operators of a query's plan, from the top.
async fn operators(context: &SessionContext, sql: &str) -> Vec<String> {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    plan.lines().map(|line| line.trim().to_owned()).collect()
}

/// The plan of a query of TPC-H, and in debug builds a check after every rule that it is valid.
async fn planned(context: &SessionContext, query: u8) -> String {
    let path = format!("{}/benches/tpch/q{query:02}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = std::fs::read_to_string(path).unwrap();
    shape_of(context, sql.trim_end().trim_end_matches(';')).await
}

/// The plan of a query, and in debug builds a check after every rule that it is valid.
async fn shape_of(context: &SessionContext, sql: &str) -> String {
    let state = context.state();
    let plan = state.create_logical_plan(sql).await.unwrap();
    let plan = state.optimize(&plan).unwrap();
    state.create_physical_plan(&plan).await.unwrap();
    shape(&plan)
}

#[test]
fn the_rules_that_ours_go_by_are_there() {
    let names: Vec<String> = rules().iter().map(|rule| rule.name().into()).collect();
    let at = names.iter().position(|name| name == "push_down_filter").unwrap();
    let ours = ["gotgan_not_in", "gotgan_anti_join", "gotgan_group_filter", "gotgan_join_order"];
    assert_eq!(names[at + 1..at + 5], ours);
    let names: Vec<String> = physical_rules().iter().map(|rule| rule.name().into()).collect();
    assert!(names.iter().any(|name| name == "gotgan_join_sides"));
    let at = names.iter().position(|name| name == "gotgan_grouping_sets").unwrap();
    assert!(names[..at].iter().any(|name| name == "EnsureRequirements"));
    assert_eq!(names[names.len() - 2..], ["gotgan_conjunction", "gotgan_show_shared"]);
}

#[tokio::test]
async fn tpch_is_joined_in_a_good_order() {
    let expected = [
        (1, "[lineitem*]"),
        (
            2,
            "(((region* nation) supplier) ([(((region* nation) supplier) (keys:part* RightSemi partsupp))] RightSemi (part* partsupp)))",
        ),
        (3, "[((customer* orders*) lineitem*)]"),
        (4, "[(orders* LeftSemi lineitem*)]"),
        (5, "[(supplier ((((region* nation) customer) orders*) lineitem))]"),
        (6, "[lineitem*]"),
        (7, "[(((nation* customer) orders) ((nation* supplier) lineitem*))]"),
        (8, "[((nation supplier) ((((region* nation) customer) orders*) (part* lineitem)))]"),
        (9, "[((((nation supplier) (part* partsupp)) lineitem) orders)]"),
        (10, "[(nation ((orders* lineitem*) customer))]"),
        (11, "[((nation* supplier) partsupp)]"),
        (12, "[(lineitem* orders)]"),
        (13, "[[(customer Left orders*)]]"),
        (14, "[(lineitem* part)]"),
        (15, "(shared:[lineitem*] supplier)"),
        (16, "[[((part* partsupp) LeftAnti supplier*)]]"),
        (17, "[([(keys:part* RightSemi lineitem)] RightSemi (part* lineitem))]"),
        (18, "[((customer ([lineitem] RightSemi orders)) lineitem)]"),
        (19, "[(part* lineitem*)]"),
        (
            20,
            "((nation* supplier) LeftSemi (part* RightSemi ([(keys:part* RightSemi lineitem*)] RightSemi partsupp)))",
        ),
        (21, "[(((orders* ((nation* supplier) lineitem*)) LeftAnti lineitem*) LeftSemi lineitem)]"),
        (22, "[(customer* LeftAnti orders)]"),
    ];
    let context = context(Settings::default());
    let mut shapes = String::new();
    for (query, expected) in expected {
        let planned = planned(&context, query).await;
        if planned != expected {
            let _ = writeln!(shapes, "q{query:02} {planned}");
        }
    }
    assert!(shapes.is_empty(), "{shapes}");
}

#[tokio::test]
async fn rules_that_are_off_change_nothing() {
    let off = Settings { join_order: false, group_filter: false, ..Settings::default() };
    let context = context(off);
    let q18 = planned(&context, 18).await;
    assert_eq!(q18, "[(((customer orders) lineitem) LeftSemi [lineitem])]");
    assert!(!planned(&context, 17).await.contains("keys"));
}

/// The grouping sets that are made of groups.
async fn sets_of_groups(context: &SessionContext, aggregates: &str, sets: &str) -> Option<String> {
    let sql = format!("SELECT {aggregates} FROM nation GROUP BY {sets}");
    let operators = operators(context, &sql).await;
    let found = operators.iter().find_map(|line| line.strip_prefix("GroupingSetsExec: sets="));
    found.map(str::to_owned)
}

#[tokio::test]
async fn grouping_sets_are_made_of_groups() {
    let context = context(Settings::default());
    let found = async |aggregates, sets| sets_of_groups(&context, aggregates, sets).await;
    let sets = |text: &str| Some(text.to_owned());
    let (all, both) = ("ROLLUP (n_regionkey, n_name)", "GROUPING SETS ((n_regionkey), (n_name))");
    let rollup = sets("[(n_regionkey, n_name), (n_regionkey), ()]");
    assert_eq!(found("count(*), avg(n_nationkey), stddev(n_nationkey)", all).await, rollup);
    assert_eq!(
        found("min(n_comment) FILTER (WHERE n_name <> 'x')", "CUBE (n_regionkey, n_name)").await,
        sets("[(n_regionkey, n_name), (n_name), (n_regionkey), ()]")
    );
    // No set has all keys.
    assert_eq!(found("count(*)", both).await, None);
    // To merge what is known of a group is no cheaper than to read its rows.
    assert_eq!(found("count(DISTINCT n_comment)", all).await, None);
    assert_eq!(found("array_agg(n_comment)", all).await, None);
    // Nothing is aggregated.
    assert_eq!(found("n_name", all).await, None);

    let off = self::context(Settings { grouping_sets: false, ..Settings::default() });
    assert_eq!(sets_of_groups(&off, "count(*)", all).await, None);
}

#[tokio::test]
async fn values_are_computed_with_narrow_decimals() {
    let sum = "SELECT sum(l_extendedprice * (1 - l_discount)) FROM lineitem \
               WHERE l_extendedprice * l_discount < 5";
    let on = operators(&context(Settings::default()), sum).await.join("\n");
    assert!(on.contains("decimal_multiply(") && on.contains("decimal_minus("), "{on}");
    // Conditions are the engine's, that knows how to prune by them.
    assert!(on.contains("l_extendedprice@0 * l_discount@1 <"), "{on}");
    let off = context(Settings { decimals: false, ..Settings::default() });
    assert!(!operators(&off, sum).await.join("\n").contains("decimal_"));
}

#[tokio::test]
async fn rows_without_a_match_are_an_anti_join() {
    let of = async |context: &SessionContext, filter: &str| {
        let sql = format!(
            "SELECT p_name, sum(l_quantity) FROM lineitem LEFT JOIN orders ON l_orderkey = o_orderkey \
             JOIN part ON l_partkey = p_partkey WHERE p_size = 1 AND {filter} GROUP BY p_name"
        );
        shape(context.sql(&sql).await.unwrap().into_optimized_plan().as_ref().unwrap())
    };
    let on = context(Settings::default());
    // It is also put behind the join that filters most.
    assert_eq!(of(&on, "o_orderkey IS NULL").await, "[((part* lineitem) LeftAnti orders)]");
    let off = context(Settings { anti_join: false, ..Settings::default() });
    assert!(of(&off, "o_orderkey IS NULL").await.contains("Left"));
    assert!(!of(&off, "o_orderkey IS NULL").await.contains("LeftAnti"));
    // Another column may be NULL in a row that has a match.
    assert!(!of(&on, "o_comment IS NULL").await.contains("LeftAnti"));
}

#[tokio::test]
async fn an_outer_join_comes_behind_those_that_filter() {
    let context = context(Settings::default());
    let of = async |sql: &str| {
        shape(context.sql(sql).await.unwrap().into_optimized_plan().as_ref().unwrap())
    };
    let behind = "SELECT p_name, max(o_comment) FROM lineitem LEFT JOIN orders ON l_orderkey = o_orderkey \
                  JOIN part ON l_partkey = p_partkey WHERE p_size = 1 GROUP BY p_name";
    assert_eq!(of(behind).await, "[((part* lineitem) Left orders)]");
    // What joins a column that it adds stays behind it.
    let before = "SELECT c_name, l_quantity FROM lineitem LEFT JOIN orders ON l_orderkey = o_orderkey \
                  LEFT JOIN customer ON o_custkey = c_custkey JOIN part ON l_partkey = p_partkey \
                  WHERE p_size = 1";
    assert_eq!(of(before).await, "(((part* lineitem) Left orders) Left customer)");
    // If that is an inner join, so is the outer one.
    let inner = "SELECT c_name, l_quantity FROM lineitem LEFT JOIN orders ON l_orderkey = o_orderkey \
                 JOIN customer ON o_custkey = c_custkey JOIN part ON l_partkey = p_partkey \
                 WHERE p_size = 1";
    assert!(!of(inner).await.contains("Left"));
    // A condition on one stays behind it, too.
    let filtered = "SELECT l_quantity FROM lineitem LEFT JOIN orders ON l_orderkey = o_orderkey \
                    JOIN part ON l_partkey = p_partkey WHERE p_size = 1 AND (o_comment IS NULL OR o_comment < p_name)";
    assert_eq!(of(filtered).await, "((part* lineitem) Left orders)");
}

#[tokio::test]
async fn filters_of_several_conditions_are_one_operator() {
    let conjunctions = async |settings: Settings, filter: &str| {
        let sql = format!("SELECT o_custkey FROM orders WHERE {filter}");
        let operators = operators(&context(settings), &sql).await;
        operators.iter().filter(|line| line.starts_with("ConjunctionExec")).count()
    };
    let both = "o_orderkey > 7 AND o_comment LIKE '%x%'";
    assert_eq!(conjunctions(Settings::default(), both).await, 1);
    assert_eq!(conjunctions(Settings::default(), "o_orderkey > 7").await, 0);
    let off = Settings { conjunction: false, ..Settings::default() };
    assert_eq!(conjunctions(off, both).await, 0);
}

#[tokio::test]
async fn what_is_needed_twice_is_shared_if_that_costs_less() {
    let with = "WITH sold AS (SELECT p_brand, n_name, sum(l_quantity) AS quantity \
                FROM lineitem, part, supplier, nation \
                WHERE l_partkey = p_partkey AND l_suppkey = s_suppkey AND s_nationkey = n_nationkey \
                GROUP BY p_brand, n_name) \
                SELECT * FROM sold AS a, sold AS b WHERE a.quantity = b.quantity";
    let context = context(Settings::default());
    for (filter, is_shared) in [
        ("true", true),
        // One of them needs everything.
        ("b.n_name = 'FRANCE'", true),
        // What both ask for is little more than what each does, and not much more than one of them.
        ("a.n_name = 'PERU' AND b.n_name = 'FRANCE'", true),
        ("a.n_name = 'PERU' AND b.n_name = 'PERU'", true),
        ("a.n_name = 'PERU' AND b.n_name = 'PERU' AND b.p_brand = 'Brand#11'", true),
        // Nothing but everything has what one and what the other asks for.
        ("a.p_brand = 'Brand#11' AND b.n_name = 'FRANCE'", false),
    ] {
        let shape = shape_of(&context, &format!("{with} AND {filter}")).await;
        assert_eq!(
            shape.matches("shared:").count(),
            if is_shared { 2 } else { 0 },
            "{filter}: {shape}"
        );
    }
    let context = self::context(Settings { share_plans: false, ..Settings::default() });
    assert!(!shape_of(&context, with).await.contains("shared"));
}

#[tokio::test]
async fn what_both_places_ask_for_is_filtered_where_it_is_computed() {
    let context = context(Settings::default());
    let shape = shape_of(
        &context,
        "WITH sold AS (SELECT o_custkey, o_orderdate, sum(o_totalprice) AS total FROM orders \
         GROUP BY o_custkey, o_orderdate) \
         SELECT * FROM sold AS a, sold AS b WHERE a.o_custkey = b.o_custkey \
         AND a.o_orderdate = DATE '1995-01-01' AND a.total > 5 AND b.o_orderdate = DATE '1995-01-02'",
    );
    assert_eq!(shape.await, "(shared:[orders*] shared:[orders*])");
}

#[tokio::test]
async fn parts_are_shared_where_the_whole_is_not() {
    let context = context(Settings::default());
    // The products of both tables are equal, too, but nobody wants one.
    let shape = shape_of(
        &context,
        "WITH sold AS (SELECT l_partkey, sum(l_quantity) AS quantity FROM lineitem GROUP BY l_partkey) \
         SELECT * FROM (SELECT quantity FROM sold, part WHERE l_partkey = p_partkey) AS a, \
         (SELECT quantity FROM sold, part WHERE l_partkey = p_size) AS b \
         WHERE a.quantity = b.quantity",
    );
    assert_eq!(shape.await, "((shared:[lineitem] part) (shared:[lineitem] part))");
}
