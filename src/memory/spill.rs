//! Files for rows that memory does not hold.
//!
//! All of them are one file of the system, in blocks, because a large sort leaves more of them than a
//! process may have open. It has no name: the system frees it when its handle is closed, however the
//! process ends, so nothing is ever left behind. That is also done when nothing is in it any more.
//!
//! ```text
//! | a | a | b | a |   | c | b |      blocks of files a, b and c, and a free one
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures::{Stream, stream};

use crate::error::{Error, ErrorKind};

/// The size of a block; no more than one is read at once.
const BLOCK: usize = 128 << 10;
/// How much is gathered before it is written.
const GATHERED: usize = 64 << 10;

/// Makes files in a directory.
#[derive(Debug)]
pub(super) struct SpillFiles {
    directory: PathBuf,
    blocks: Arc<Mutex<Blocks>>,
}

/// The blocks of the file of the system.
#[derive(Debug, Default)]
struct Blocks {
    /// While any of them is in use.
    file: Option<Arc<File>>,
    free: Vec<u64>,
    /// How many there are, the free ones among them.
    count: u64,
}

impl SpillFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, blocks: Arc::default() }
    }

    fn make(&self) -> Result<Arc<File>> {
        let file = tempfile::tempfile_in(&self.directory).map_err(|error| {
            let directory = self.directory.display();
            let message = format!("no temporary file can be made in \"{directory}\": {error}");
            let error = Error::new(ErrorKind::Storage, message).with_source(error);
            DataFusionError::from(error.with_help("name another one with --temp-directory"))
        })?;
        Ok(Arc::new(file))
    }
}

impl TempFileFactory for SpillFiles {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        let mut blocks = locked(&self.blocks);
        let file = match &blocks.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(blocks.file.insert(self.make()?)),
        };
        let place = Mutex::new(Place { blocks: vec![], bytes: 0 });
        let spilled = Spilled { file, place, all: Arc::clone(&self.blocks) };
        Ok(Arc::new(Handle(Arc::new(spilled))))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of our files.
#[derive(Debug)]
struct Spilled {
    file: Arc<File>,
    place: Mutex<Place>,
    all: Arc<Mutex<Blocks>>,
}

/// Where its bytes are: in these blocks, the last of which may not be full.
#[derive(Debug)]
struct Place {
    blocks: Vec<u64>,
    bytes: u64,
}

impl Spilled {
    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut place = locked(&self.place);
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (place.bytes % BLOCK as u64) as usize;
            if within == 0 {
                place.blocks.push(locked(&self.all).take());
            }
            let block = place.blocks.last().copied().unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(BLOCK - within));
            system::write_at(&self.file, now, block * BLOCK as u64 + within as u64)?;
            place.bytes += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// What follows `offset`, up to the end of its block or of the file.
    fn read(&self, offset: u64) -> std::io::Result<Vec<u8>> {
        let (block, bytes) = {
            let place = locked(&self.place);
            let index = (offset / BLOCK as u64) as usize;
            (place.blocks.get(index).copied(), place.bytes)
        };
        let Some(block) = block.filter(|_| offset < bytes) else { return Ok(vec![]) };
        let within = offset % BLOCK as u64;
        let mut chunk = vec![0; (bytes - offset).min(BLOCK as u64 - within) as usize];
        system::read_at(&self.file, &mut chunk, block * BLOCK as u64 + within)?;
        Ok(chunk)
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut locked(&self.place).blocks);
        locked(&self.all).give_back(blocks);
    }
}

impl Blocks {
    fn take(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    fn give_back(&mut self, blocks: Vec<u64>) {
        self.free.extend(blocks);
        if self.free.len() as u64 == self.count {
            // Files that have no block yet keep the old one open.
            *self = Self::default();
        }
    }
}

/// Reading and writing at a place, which several threads do at once.
mod system {
    use std::fs::File;
    use std::io::Result;

    #[cfg(unix)]
    pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }

    #[cfg(unix)]
    pub(super) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
    }

    #[cfg(windows)]
    pub(super) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
            (bytes, offset) = (&bytes[written..], offset + written as u64);
        }
        Ok(())
    }

    #[cfg(windows)]
    pub(super) fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            (bytes, offset) = (&mut bytes[read..], offset + read as u64);
        }
        Ok(())
    }
}

/// A file as the engine holds it.
#[derive(Debug, Clone)]
struct Handle(Arc<Spilled>);

impl SpillFile for Handle {
    fn size(&self) -> Option<u64> {
        Some(locked(&self.0.place).bytes)
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
        let mut made: Vec<_> = (0..3).map(|_| files.create_temp_file("a test").unwrap()).collect();
        let text = |file: usize| (0..3 * BLOCK + 7).map(|i| ((i + file) % 251) as u8).collect();
        let texts: Vec<Vec<u8>> = (0..3).map(text).collect();
        let mut writers: Vec<_> = made.iter().map(|file| file.open_writer().unwrap()).collect();
        // They are written side by side.
        for part in 0..5 {
            for (writer, text) in writers.iter_mut().zip(&texts) {
                writer.write_all(text.chunks(100_000).nth(part).unwrap_or_default()).unwrap();
            }
        }
        writers.iter_mut().for_each(|writer| writer.finish().unwrap());
        for (file, text) in made.iter().zip(&texts) {
            assert_eq!(file.size(), Some(text.len() as u64));
            // Two readers do not disturb each other.
            let mut other = file.read_stream().unwrap();
            other.try_next().await.unwrap();
            let read: Vec<Bytes> = file.read_stream().unwrap().try_collect().await.unwrap();
            assert!(read.concat() == *text);
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        // Blocks are used again, and with the last of them goes the file.
        drop(writers);
        made.pop();
        let other = files.create_temp_file("a test").unwrap();
        other.open_writer().unwrap().write_all(&texts[0]).unwrap();
        assert_eq!(locked(&files.blocks).count, 12);
        drop((made, other));
        assert!(locked(&files.blocks).file.is_none());
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
