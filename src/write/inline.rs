//! Few rows, left to the catalog instead of a file, and such rows as a file after all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::file::{Target, has_nan};
use super::stats;
use crate::catalog::model::{Column, ColumnId, ColumnStats, InlinedRow, InlinedRows};
use crate::error::{Error, Result};
use crate::table::inlined;
use crate::table::types::{ROW_ID_COLUMN, table_schema};

impl Target {
    /// The rows as the catalog is to keep them; `None` if they are too many, or have no text.
    pub(super) fn inline(&self, batches: &[RecordBatch]) -> Result<Option<InlinedRows>> {
        let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if n_rows == 0 || n_rows > self.inlining_limit {
            return Ok(None);
        }
        let columns = self.table.columns.clone();
        let mut rows = Vec::with_capacity(n_rows);
        for batch in batches {
            let row_ids = batch.columns().get(columns.len());
            let row_ids = row_ids.and_then(|ids| ids.as_primitive_opt::<Int64Type>());
            for row in 0..batch.num_rows() {
                let value = |(column, array): (&Column, &ArrayRef)| match array.is_null(row) {
                    true => Some(None),
                    false => inlined::text(array, row, column).map(Some),
                };
                let values = columns.iter().zip(batch.columns()).map(value);
                let Some(values) = values.collect::<Option<Vec<_>>>() else {
                    return Ok(None);
                };
                let row_id = row_ids.map(|ids| ids.value(row));
                rows.push(InlinedRow { row_id, place: 0, values });
            }
        }
        let column_stats = self.describe(batches)?;
        Ok(Some(InlinedRows { columns, rows, column_stats }))
    }

    /// Rows that the catalog was to keep as a batch to write, with row ids if files keep them.
    pub(crate) fn batch_of(&self, rows: &InlinedRows) -> Result<RecordBatch> {
        let columns = &self.table.columns;
        let mut arrays = columns
            .iter()
            .map(|column| inlined::array(rows, column))
            .collect::<Result<Vec<_>>>()?;
        let mut fields = table_schema(columns)?.fields().to_vec();
        if self.file_schema.fields().len() > columns.len() {
            let row_ids = rows.rows.iter().map(|row| row.row_id).collect::<Int64Array>();
            arrays.push(Arc::new(row_ids));
            fields.push(Arc::new(Field::new(ROW_ID_COLUMN, DataType::Int64, true)));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| Error::internal(format!("rows do not fit their table: {e}")))
    }

    /// The statistics of a few rows: those that a file of them would have.
    fn describe(&self, batches: &[RecordBatch]) -> Result<BTreeMap<ColumnId, ColumnStats>> {
        let internal = |e: parquet::errors::ParquetError| Error::internal(e.to_string());
        let schema = Arc::clone(&self.file_schema);
        // Nobody reads the file, so it has as little as a file can.
        let bare = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(bare)).map_err(internal)?;
        let mut nan = vec![false; self.table.columns.len()];
        for batch in batches {
            nan.iter_mut().zip(batch.columns()).for_each(|(nan, array)| *nan |= has_nan(array));
            writer.write(&self.to_file(batch)?).map_err(internal)?;
        }
        let metadata = writer.close().map_err(internal)?;
        Ok(stats::collect(&metadata, &self.table.columns, &nan))
    }
}
