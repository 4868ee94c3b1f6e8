//! How the columns of files that were added as they are, without ids of their columns, are found.
//!
//! A mapping names the column that each of a file's columns is, so renaming a column changes nothing.
//! One that comes from a partition is not in the file: its value is in the file's path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Catalog;
use super::backend::Value;
use super::commit::Writer;
use super::model::*;
use crate::error::{Error, ErrorKind, Result};

impl Catalog {
    /// The mappings that files of a table name, by id.
    pub(super) async fn name_mappings(
        &self,
        table: TableId,
    ) -> Result<BTreeMap<i64, Arc<NameMapping>>> {
        let sql = "SELECT m.mapping_id, m.type, n.column_id, n.source_name, n.target_field_id, \
                   n.parent_column, n.is_partition \
                   FROM ducklake_column_mapping m \
                   LEFT JOIN ducklake_name_mapping n ON n.mapping_id = m.mapping_id \
                   WHERE m.table_id = $1 ORDER BY m.mapping_id, n.column_id";
        let mut listed: BTreeMap<i64, Vec<Listed>> = BTreeMap::new();
        for row in self.backend().query(sql, &[table.0.into()]).await? {
            let kind = row.text(1)?;
            if kind != "map_by_name" {
                return Err(Error::unsupported(format!(
                    "the table has files that were added with a mapping of type {kind}"
                ))
                .with_help("copy it with the program that added them: CREATE TABLE … AS SELECT"));
            }
            let columns = listed.entry(row.int(0)?).or_default();
            if let Some(ordinal) = row.opt_int(2)? {
                columns.push(Listed {
                    ordinal,
                    parent: row.opt_int(5)?,
                    name: row.text(3)?,
                    column: ColumnId(row.int(4)?),
                    is_partition: row.opt_flag(6)?.unwrap_or(false),
                });
            }
        }
        let mapping = |(id, columns): (i64, Vec<Listed>)| {
            let columns = below(&columns, None, 0)?;
            Ok((id, Arc::new(NameMapping { id: Some(id), columns })))
        };
        listed.into_iter().map(mapping).collect()
    }
}

impl Writer<'_> {
    /// The ids of the mappings of files that are added, by file: those of the table that are the same,
    /// else new ones.
    pub(super) async fn mapping_ids(
        &mut self,
        catalog: &Catalog,
        table: TableId,
        files: &[DataFile],
    ) -> Result<Vec<Option<i64>>> {
        let mut known: Option<Vec<(i64, Arc<NameMapping>)>> = None;
        let mut ids = Vec::with_capacity(files.len());
        for file in files {
            let Some(mapping) = &file.name_mapping else {
                ids.push(None);
                continue;
            };
            // Those that another transaction adds just now are only not found.
            if known.is_none() && !table.is_provisional() {
                known = Some(catalog.name_mappings(table).await?.into_iter().collect());
            }
            let known = known.get_or_insert_default();
            let same = known.iter().find(|(_, other)| other.columns == mapping.columns);
            let id = match same {
                Some((id, _)) => *id,
                None => {
                    let id = self.insert_mapping(table, mapping).await?;
                    known.push((id, Arc::clone(mapping)));
                    id
                }
            };
            ids.push(Some(id));
        }
        Ok(ids)
    }

    async fn insert_mapping(&mut self, table: TableId, mapping: &NameMapping) -> Result<i64> {
        // Other engines know by this counter of files that there is a new one.
        let id = self.next_file_id();
        let row = vec![id.into(), table.0.into(), "map_by_name".into()];
        self.transaction.insert("ducklake_column_mapping", vec![row]).await?;
        let mut rows = Vec::new();
        list(id, &mapping.columns, None, &mut rows);
        self.transaction.insert("ducklake_name_mapping", rows).await?;
        Ok(id)
    }
}

/// The rows of columns and of all below them, numbered in that order.
fn list(mapping: i64, columns: &[MappedColumn], parent: Option<i64>, rows: &mut Vec<Vec<Value>>) {
    for column in columns {
        let ordinal = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        rows.push(vec![
            mapping.into(),
            ordinal.into(),
            column.name.clone().into(),
            column.column.0.into(),
            parent.into(),
            column.is_partition.into(),
        ]);
        list(mapping, &column.children, Some(ordinal), rows);
    }
}

/// One row of `ducklake_name_mapping`.
struct Listed {
    ordinal: i64,
    parent: Option<i64>,
    name: String,
    column: ColumnId,
    is_partition: bool,
}

/// The columns below a parent, in order.
fn below(all: &[Listed], parent: Option<i64>, depth: usize) -> Result<Vec<MappedColumn>> {
    if depth > all.len() {
        return Err(Error::new(ErrorKind::Corrupt, "a name mapping is its own parent"));
    }
    let children = all.iter().filter(|listed| listed.parent == parent);
    let column = |listed: &Listed| {
        Ok(MappedColumn {
            name: listed.name.clone(),
            column: listed.column,
            is_partition: listed.is_partition,
            children: below(all, Some(listed.ordinal), depth + 1)?,
        })
    };
    children.map(column).collect()
}
