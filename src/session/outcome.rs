//! What a statement gives back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt};

use crate::diagnostic::Span;
use crate::error::{Error, Result};

/// What a statement gives back.
#[derive(Debug)]
pub enum Outcome {
    /// Rows; all but the first are computed while they are read.
    Rows(Rows),
    /// Done; nothing to read.
    Changed {
        /// What was done, such as `CREATE TABLE`.
        tag: &'static str,
        /// How many rows were written, where rows were.
        rows: Option<u64>,
    },
}

impl Outcome {
    pub(crate) fn done(tag: &'static str) -> Self {
        Self::Changed { tag, rows: None }
    }

    /// Reads all rows; none for a statement that has none.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Rows(rows) => rows.try_collect().await,
            Self::Changed { .. } => Ok(vec![]),
        }
    }
}

/// A stream of Arrow batches. Dropping it cancels the query.
pub struct Rows {
    stream: SendableRecordBatchStream,
    span: Option<Span>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema()).finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn new(stream: SendableRecordBatchStream, span: Option<Span>) -> Self {
        Self { stream, span }
    }

    /// Rows of which the first are there already, so that what fails before fails to begin.
    pub(crate) async fn begun(mut stream: SendableRecordBatchStream) -> Result<Self> {
        let first = loop {
            match stream.try_next().await? {
                Some(batch) if batch.num_rows() == 0 => {}
                first => break first,
            }
        };
        let schema = stream.schema();
        let all = futures::stream::iter(first.map(Ok)).chain(stream);
        Ok(Self::new(Box::pin(RecordBatchStreamAdapter::new(schema, all)), None))
    }

    /// Rows that are there already.
    pub(crate) fn ready(batch: RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        let stream = MemoryStream::try_new(vec![batch], schema, None)?;
        Ok(Self::new(Box::pin(stream), None))
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.stream.schema())
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let span = self.span;
        let next = self.stream.poll_next_unpin(context);
        next.map(|item| item.map(|batch| batch.map_err(|e| Error::from(e).or_span(span))))
    }
}
