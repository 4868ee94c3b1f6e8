//! The catalog's rows as plain values, in DuckLake's own words.
//!
//! Ids are newtypes. An object that a transaction has created and not yet committed carries a
//! *provisional* id (see [`PROVISIONAL`]); [`super::commit`] replaces it by the next id of the
//! catalog, so that a commit can be rebased over another without touching a file. Nothing here
//! does I/O, and nothing knows Arrow: [`crate::table::types`] maps column types.

mod staged;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use roaring::RoaringTreemap;
use uuid::Uuid;

pub use self::staged::*;

/// Ids from here on are provisional: handed out by a transaction, replaced at commit.
pub const PROVISIONAL: i64 = 1 << 62;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl $name {
            /// Whether the object is staged in a transaction and not yet in the catalog.
            pub fn is_provisional(self) -> bool {
                self.0 >= PROVISIONAL
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/** A committed state of the whole catalog. */ SnapshotId);
id!(/** A schema. */ SchemaId);
id!(/** A table, through all its versions. */ TableId);
id!(/** A view, through all its versions. */ ViewId);
id!(/** A column or nested field; unique within its table and never used again. */ ColumnId);
id!(/** A data file or delete file. */ FileId);
id!(/** A way to partition a table, until it is set anew. */ PartitionId);

/// One row of `ducklake_snapshot`: what a reader pins and a commit builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id; the next commit takes exactly the next one.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: DateTime<Utc>,
    /// Grows with every change of a schema, never with data.
    pub schema_version: i64,
    /// The next id for schemas, tables, views.
    pub next_catalog_id: i64,
    /// The next id for data files and delete files.
    pub next_file_id: i64,
}

/// A snapshot with its row of `ducklake_snapshot_changes`, as history lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// DuckLake's change list, such as `created_table:"main"."t",inserted_into_table:1`.
    pub changes: Option<String>,
    /// Who committed.
    pub author: Option<String>,
    /// Why.
    pub commit_message: Option<String>,
    /// Anything else the writer noted.
    pub commit_extra_info: Option<String>,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Its id.
    pub id: SchemaId,
    /// Stable identity across warehouses.
    pub uuid: Uuid,
    /// Its name; unique without regard to case.
    pub name: String,
    /// Its directory below the data path.
    pub path: ObjectPath,
}

/// Where an object's files are: relative to its parent's directory, or absolute.
/// Directories end in `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectPath {
    /// Below the parent: the schema's below the data path, the table's below the schema's.
    Relative(String),
    /// On its own.
    Absolute(String),
}

impl ObjectPath {
    /// The full path below `parent`, which ends in `/`; plain concatenation, as DuckLake does.
    pub fn resolve(&self, parent: &str) -> String {
        match self {
            Self::Relative(path) => format!("{parent}{path}"),
            Self::Absolute(path) => path.clone(),
        }
    }
}

/// A table version as of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its id.
    pub id: TableId,
    /// Stable identity across warehouses.
    pub uuid: Uuid,
    /// The schema it is in.
    pub schema_id: SchemaId,
    /// Its name; unique in its schema without regard to case.
    pub name: String,
    /// The full directory of its files, with the trailing `/`.
    pub directory: String,
    /// Its own part of the directory.
    pub path: ObjectPath,
    /// Top-level columns in order.
    pub columns: Vec<Column>,
    /// What its `comment` tag says.
    pub comment: Option<String>,
    /// How its files are partitioned.
    pub partition: Option<PartitionSpec>,
    /// How the rows in its files are sorted; empty when they are not.
    pub sort: Vec<SortKey>,
    /// Its CHECK constraints and declared keys.
    pub constraints: Vec<Constraint>,
    /// The id of the next column; ids of dropped columns are not used again.
    pub next_column_id: i64,
}

/// How a table's files are partitioned: each file holds one value for each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Its id, which files name.
    pub id: PartitionId,
    /// The keys, outermost directory first; never empty.
    pub keys: Vec<PartitionKey>,
}

/// One key of a [`PartitionSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionKey {
    /// A top-level column.
    pub column: ColumnId,
    /// What of its value counts.
    pub transform: Transform,
}

/// What of a column's value makes a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// The calendar year.
    Year,
    /// The month, 1 to 12, of any year.
    Month,
    /// The day of the month, 1 to 31.
    Day,
    /// The hour of the day.
    Hour,
    /// A hash, modulo this.
    Bucket(u32),
}

/// One key that a table's files are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// SQL over the table's columns.
    pub expression: String,
    /// The dialect of that SQL.
    pub dialect: String,
    /// Largest first.
    pub descending: bool,
    /// NULL before all values.
    pub nulls_first: bool,
}

/// A named rule for a table's rows, kept in a table of ours that other engines do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Its name; unique in its table without regard to case.
    pub name: String,
    /// What it says.
    pub rule: Rule,
}

/// What a [`Constraint`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// SQL over the table's columns that is false for no row; checked on every write.
    Check(String),
    /// The columns identify a row; declared, not checked.
    PrimaryKey(Vec<ColumnId>),
    /// No two rows have the same values; declared, not checked.
    Unique(Vec<ColumnId>),
}

/// A column or nested field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its id, also the Parquet field id.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// Its type, with its children.
    pub column_type: ColumnType,
    /// Whether NULL is allowed; meaningful for top-level columns only.
    pub nullable: bool,
    /// The value for rows of files that were written before the column was added.
    pub initial_default: Option<String>,
    /// The value an INSERT that leaves the column out gives it.
    pub default: Option<ColumnDefault>,
    /// What its `comment` tag says.
    pub comment: Option<String>,
}

/// The default of a column for new rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnDefault {
    /// Text that casts to the column's type.
    Literal(String),
    /// SQL of another engine's dialect.
    Expression(String),
}

/// DuckLake's column types.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum ColumnType {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    /// Up to 38 digits, `scale` of them after the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Date,
    Time,
    TimestampS,
    TimestampMs,
    /// Microseconds; `timestamp` in the catalog.
    Timestamp,
    TimestampNs,
    /// Microseconds in UTC.
    TimestampTz,
    Interval,
    Varchar,
    Json,
    Blob,
    Uuid,
    /// Fields in order.
    Struct(Vec<Column>),
    /// The child is named `element`.
    List(Box<Column>),
    /// The children are named `key` and `value`.
    Map(Box<Column>, Box<Column>),
    /// A type that DuckLake has and this engine cannot read, such as `variant`.
    Other(String),
}

impl Column {
    /// Its children: struct fields, the list element, or map key and value.
    pub fn children(&self) -> Vec<&Column> {
        match &self.column_type {
            ColumnType::Struct(fields) => fields.iter().collect(),
            ColumnType::List(element) => vec![element],
            ColumnType::Map(key, value) => vec![key, value],
            _ => vec![],
        }
    }

    /// The same, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Column> {
        match &mut self.column_type {
            ColumnType::Struct(fields) => fields.iter_mut().collect(),
            ColumnType::List(element) => vec![element],
            ColumnType::Map(key, value) => vec![key, value],
            _ => vec![],
        }
    }
}

/// Names are unique without regard to case.
pub fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// A view version as of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub id: ViewId,
    /// Stable identity across warehouses.
    pub uuid: Uuid,
    /// The schema it is in.
    pub schema_id: SchemaId,
    /// Its name; shares the namespace of tables.
    pub name: String,
    /// The dialect its text was written for.
    pub dialect: String,
    /// Its query.
    pub sql: String,
    /// Names for its columns; empty when the query's own names are used.
    pub column_aliases: Vec<String>,
    /// What its `comment` tag says.
    pub comment: Option<String>,
}

/// What a name in a schema stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the payload says it")]
pub enum Relation {
    Table(Table),
    View(View),
}

impl Relation {
    /// Which of the two it is.
    pub fn kind(&self) -> RelationKind {
        match self {
            Self::Table(_) => RelationKind::Table,
            Self::View(_) => RelationKind::View,
        }
    }
}

/// A name in a schema, without its details: enough for listings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelationName {
    /// The schema's name.
    pub schema: String,
    /// The table's or view's name.
    pub name: String,
    /// Which of the two.
    pub kind: RelationKind,
}

/// Whether a name is a table or a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RelationKind {
    Table,
    View,
}

/// A data file of a table; immutable once written.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// Its id; provisional while it is staged in a transaction, `None` before that.
    pub id: Option<FileId>,
    /// The full path or URL.
    pub path: String,
    /// Rows in the file, deleted ones included.
    pub record_count: u64,
    /// Exact size.
    pub file_size_bytes: u64,
    /// The length of the Parquet footer's Thrift part; `None` if unknown, never wrong.
    pub footer_size: Option<u64>,
    /// The row id of its first row; `None` while staged, and where the file keeps each row's id.
    pub row_id_start: Option<i64>,
    /// The oldest snapshot of its rows; `None` while staged.
    pub begin: Option<SnapshotId>,
    /// The newest snapshot of its rows, in a file that keeps each row's snapshot.
    pub partial_max: Option<SnapshotId>,
    /// How its columns are found by name, if it was added as it is.
    pub name_mapping: Option<Arc<NameMapping>>,
    /// Statistics by leaf column while it is staged; later the catalog has them.
    pub column_stats: BTreeMap<ColumnId, ColumnStats>,
    /// The partition it is in; none for files of an unpartitioned table.
    pub partition: Option<FilePartition>,
    /// The files that tell which of its rows are deleted; nearly always at most one.
    pub deletes: Vec<DeleteFile>,
    /// Positions of rows that are deleted besides: in the catalog, or by this transaction.
    pub deleted: Arc<RoaringTreemap>,
}

/// How the columns of a file that was added as it is are found: by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameMapping {
    /// Its id; `None` while it is staged.
    pub id: Option<i64>,
    /// The file's columns, and those that its path has.
    pub columns: Vec<MappedColumn>,
}

/// A column or nested field of a file by its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedColumn {
    /// Its name in the file, or in a part `name=value` of its path.
    pub name: String,
    /// The column or nested field of the table that it is.
    pub column: ColumnId,
    /// Whether its value is in the path.
    pub is_partition: bool,
    /// The fields inside of it; of a list the only child, of a map key and value.
    pub children: Vec<MappedColumn>,
}

/// The partition of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePartition {
    /// The specification it was written for.
    pub id: PartitionId,
    /// The text of each key's value; `None` is NULL.
    pub values: Vec<Option<String>>,
}

/// A file that tells which rows of a data file are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteFile {
    /// Its id.
    pub id: FileId,
    /// The full path or URL.
    pub path: String,
    /// How the positions are written.
    pub format: DeleteFormat,
    /// Rows in it.
    pub delete_count: u64,
    /// Exact size.
    pub file_size_bytes: u64,
    /// The snapshot of its oldest delete, and of all that have none of their own.
    pub begin: SnapshotId,
}

/// How a delete file keeps its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteFormat {
    /// Rows of file path and position, and perhaps the snapshot of each delete.
    Parquet,
    /// Iceberg's `deletion-vector-v1` without its Puffin container.
    DeletionVector,
}

/// Statistics of one leaf column in one file. Bounds are sound, never too narrow; text in the
/// form of DUCKDB's cast to VARCHAR. `None` is always safe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnStats {
    /// Compressed size.
    pub column_size_bytes: u64,
    /// Values that are not NULL.
    pub value_count: Option<u64>,
    /// NULLs.
    pub null_count: Option<u64>,
    /// A lower bound.
    pub min: Option<String>,
    /// An upper bound.
    pub max: Option<String>,
    /// For floats: whether a NaN is present (NaN is outside of min and max).
    pub contains_nan: Option<bool>,
}

/// What a table's files take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct TableSize {
    pub id: TableId,
    pub uuid: Uuid,
    pub schema_id: SchemaId,
    pub name: String,
    pub file_count: u64,
    pub file_size_bytes: u64,
    pub delete_file_count: u64,
    pub delete_file_size_bytes: u64,
}

/// One row of `ducklake_table_stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Rows ever added, deletions not subtracted.
    pub record_count: u64,
    /// The row id of the next row.
    pub next_row_id: i64,
    /// Bytes of files ever added.
    pub file_size_bytes: u64,
}

/// What is known of a table as a whole, for estimates: of its newest rows, deletions not subtracted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSummary {
    /// How many rows it has.
    pub record_count: u64,
    /// Its leaf columns.
    pub columns: BTreeMap<ColumnId, ColumnSummary>,
}

/// What is known of a column of a table as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnSummary {
    /// Whether there is a NULL.
    pub contains_null: Option<bool>,
    /// A lower bound.
    pub min: Option<String>,
    /// An upper bound.
    pub max: Option<String>,
}
