//! Files for rows that memory does not hold.
//!
//! They have no name: the system frees them when the last handle is closed, however the process
//! ends, so nothing is ever left behind. Their places are read and written through one handle, which
//! takes a lock; a file has one writer, and hardly ever more than one reader.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures::{Stream, stream};

use crate::error::{Error, ErrorKind};

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// How much is gathered before it is written.
const GATHERED: usize = 64 << 10;

/// Makes files in a directory.
#[derive(Debug)]
pub(super) struct SpillFiles {
    directory: PathBuf,
}

impl SpillFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

impl TempFileFactory for SpillFiles {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = tempfile::tempfile_in(&self.directory).map_err(|error| {
            let directory = self.directory.display();
            let message = format!("no temporary file can be made in \"{directory}\": {error}");
            let error = Error::new(ErrorKind::Storage, message).with_source(error);
            DataFusionError::from(error.with_help("name another one with --temp-directory"))
        })?;
        let file = Spilled { file: Mutex::new(file), bytes: AtomicU64::new(0) };
        Ok(Arc::new(Handle(Arc::new(file))))
    }
}

/// A file without a name.
#[derive(Debug)]
struct Spilled {
    file: Mutex<File>,
    /// How long it is.
    bytes: AtomicU64,
}

impl Spilled {
    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.bytes.load(Ordering::Acquire)))?;
        file.write_all(bytes)?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// What follows `offset`, up to the end or the size of a chunk.
    fn read(&self, offset: u64) -> std::io::Result<Vec<u8>> {
        let left = self.bytes.load(Ordering::Acquire).saturating_sub(offset);
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut chunk)?;
        Ok(chunk)
    }
}

/// A file as the engine holds it.
#[derive(Debug, Clone)]
struct Handle(Arc<Spilled>);

impl SpillFile for Handle {
    fn size(&self) -> Option<u64> {
        Some(self.0.bytes.load(Ordering::Acquire))
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let chunks = stream::try_unfold((Arc::clone(&self.0), 0), async |(file, offset)| {
            let reader = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || reader.read(offset)).await;
            let chunk = read.map_err(|error| DataFusionError::External(Box::new(error)))??;
            let offset = offset + chunk.len() as u64;
            Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), (file, offset))))
        });
        Ok(Box::pin(chunks))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Writer(BufWriter::with_capacity(GATHERED, self.clone()))))
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gathers what is written bit by bit.
struct Writer(BufWriter<Handle>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl SpillWriter for Writer {
    fn finish(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_and_no_name_is_left() {
        let scratch = tempfile::tempdir().unwrap();
        let files = SpillFiles::new(scratch.path().to_owned());
        let file = files.create_temp_file("a test").unwrap();
        let mut writer = file.open_writer().unwrap();
        let text: Vec<u8> = (0..3 * CHUNK + 7).map(|i| (i % 251) as u8).collect();
        for part in text.chunks(100_000) {
            writer.write_all(part).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(file.size(), Some(text.len() as u64));
        // Two readers do not disturb each other.
        let mut other = file.read_stream().unwrap();
        other.try_next().await.unwrap();
        let read: Vec<Bytes> = file.read_stream().unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), text);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let files = SpillFiles::new("/no/such/directory".into());
        let Err(error) = files.create_temp_file("a test") else { panic!("it was made") };
        let error = Error::from(error);
        assert!(error.message().contains("\"/no/such/directory\""), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Storage);
    }
}
