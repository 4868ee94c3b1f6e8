//! Readers of one plan: fast and slow ones, those that leave, and plans that fail.

use std::sync::atomic::AtomicUsize;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::exec_err;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, TryStreamExt, stream};

use super::*;

const ROWS: usize = 1000;
/// What a batch holds.
const BYTES: usize = ROWS * 8;

/// What comes after the last batch.
#[derive(Debug, Clone, Copy)]
enum Then {
    End,
    Fail,
    Panic,
}

/// A partition of numbered batches, which counts what is taken of it.
#[derive(Debug)]
struct Numbers {
    n_batches: usize,
    then: Then,
    executed: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn batch(number: usize) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![number as i64; ROWS]));
    RecordBatch::try_new(schema(), vec![column]).unwrap()
}

impl PartitionStream for Numbers {
    fn schema(&self) -> &SchemaRef {
        static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
        SCHEMA.get_or_init(schema)
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.executed.fetch_add(1, Ordering::Relaxed);
        let (taken, then) = (Arc::clone(&self.taken), self.then);
        let batches = stream::iter(0..self.n_batches).map(move |number| {
            taken.fetch_add(1, Ordering::Relaxed);
            Ok(batch(number))
        });
        let end = stream::iter([then]).filter_map(|then| async move {
            match then {
                Then::End => None,
                Then::Fail => Some(exec_err!("the disk is on fire")),
                Then::Panic => panic!("a defect of an operator"),
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema(), batches.chain(end)))
    }
}

/// A plan of two partitions with its readers.
struct Case {
    input: Arc<SharedInput>,
    readers: Vec<SharedExec>,
    context: Arc<TaskContext>,
    executed: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

impl Case {
    fn new(n_readers: usize, n_batches: usize, then: Then, memory: usize) -> Self {
        let (executed, taken) = (Arc::default(), Arc::default());
        let partition = || -> Arc<dyn PartitionStream> {
            let (executed, taken) = (Arc::clone(&executed), Arc::clone(&taken));
            Arc::new(Numbers { n_batches, then, executed, taken })
        };
        let partitions = vec![partition(), partition()];
        let plan = StreamingTableExec::try_new(schema(), partitions, None, [], false, None);
        let input = Arc::new(SharedInput::new(1, Arc::new(plan.unwrap())));
        let readers = (0..n_readers).map(|_| SharedExec::new(&input)).collect();
        let pool = Arc::new(GreedyMemoryPool::new(memory));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let context = Arc::new(TaskContext::default().with_runtime(runtime));
        Self { input, readers, context, executed, taken }
    }

    fn stream(&self, reader: usize, partition: usize) -> SendableRecordBatchStream {
        self.readers[reader].execute(partition, Arc::clone(&self.context)).unwrap()
    }

    fn reserved(&self) -> usize {
        self.context.memory_pool().reserved()
    }

    fn n_spills(&self) -> usize {
        self.input.metrics.clone_inner().spill_count().unwrap_or(0)
    }

    /// How many batches were taken, once no more are.
    async fn taken(&self) -> usize {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.taken.load(Ordering::Relaxed)
    }
}

async fn numbers(stream: SendableRecordBatchStream) -> Result<Vec<i64>> {
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    let number = |batch: &RecordBatch| {
        assert_eq!(batch.num_rows(), ROWS);
        batch.column(0).as_primitive::<Int64Type>().value(0)
    };
    Ok(batches.iter().map(number).collect())
}

fn up_to(n: i64) -> Vec<i64> {
    (0..n).collect()
}

#[tokio::test]
async fn each_reader_gets_all_rows_of_one_execution() {
    let case = Case::new(3, 20, Then::End, usize::MAX);
    // One after the other, and at the same time.
    assert_eq!(numbers(case.stream(0, 0)).await.unwrap(), up_to(20));
    let (one, other) = tokio::join!(numbers(case.stream(1, 0)), numbers(case.stream(2, 0)));
    assert_eq!((one.unwrap(), other.unwrap()), (up_to(20), up_to(20)));
    for reader in 0..3 {
        assert_eq!(numbers(case.stream(reader, 1)).await.unwrap(), up_to(20));
    }
    assert_eq!(case.executed.load(Ordering::Relaxed), 2);
    assert_eq!((case.reserved(), case.n_spills()), (0, 0));
}

#[tokio::test]
async fn what_nobody_wants_yet_is_not_computed() {
    let case = Case::new(2, 1000, Then::End, usize::MAX);
    let (mut ahead, mut behind) = (case.stream(0, 0), case.stream(1, 0));
    assert_eq!(case.taken().await, 0);
    ahead.next().await.unwrap().unwrap();
    // A few of each partition.
    assert!(case.taken().await <= 12, "{}", case.taken().await);
    for _ in 0..30 {
        ahead.next().await.unwrap().unwrap();
    }
    let taken = case.taken().await;
    assert!((31..=45).contains(&taken), "{taken}");
    // What only one has read is kept for the other.
    assert!(case.reserved() >= 31 * BYTES, "{}", case.reserved());
    for _ in 0..31 {
        behind.next().await.unwrap().unwrap();
    }
    assert!(case.reserved() < 12 * BYTES, "{}", case.reserved());
    assert_eq!(case.taken().await, taken);
}

#[tokio::test]
async fn what_memory_does_not_hold_is_on_disk() {
    for held in [0, 1, 7] {
        let case = Case::new(3, 50, Then::End, held * BYTES + BYTES / 2);
        let mut slow = case.stream(2, 0);
        assert_eq!(numbers(case.stream(0, 0)).await.unwrap(), up_to(50));
        assert!(case.n_spills() > 0);
        // One in the middle of a file, one at the beginning.
        for number in 0..5 {
            let batch = slow.next().await.unwrap().unwrap();
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), number);
        }
        assert_eq!(numbers(case.stream(1, 0)).await.unwrap(), up_to(50));
        assert_eq!(numbers(slow).await.unwrap(), (5..50).collect::<Vec<_>>());
        let all = [case.stream(0, 1), case.stream(1, 1), case.stream(2, 1)];
        for numbers in futures::future::join_all(all.map(numbers)).await {
            assert_eq!(numbers.unwrap(), up_to(50));
        }
        assert_eq!(case.reserved(), 0);
    }
}

#[tokio::test]
async fn readers_that_leave_are_not_waited_for() {
    let case = Case::new(3, 100, Then::End, usize::MAX);
    let mut hasty = case.stream(0, 0);
    hasty.next().await.unwrap().unwrap();
    drop(hasty);
    drop(case.stream(1, 0));
    assert_eq!(numbers(case.stream(2, 0)).await.unwrap(), up_to(100));
    // Nobody is left who would read it again.
    let mut others: Vec<_> = (0..3).map(|reader| case.stream(reader, 1)).collect();
    others[0].next().await.unwrap().unwrap();
    drop(others);
    let taken = case.taken().await;
    assert!(taken < 120, "{taken}");
    assert_eq!(case.reserved(), 0);
}

#[tokio::test]
async fn each_reader_gets_the_error() {
    for (then, said) in [(Then::Fail, "the disk is on fire"), (Then::Panic, "ended early")] {
        let case = Case::new(2, 10, then, usize::MAX);
        for reader in 0..2 {
            let mut stream = case.stream(reader, 0);
            for _ in 0..10 {
                stream.next().await.unwrap().unwrap();
            }
            let error = stream.next().await.unwrap().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(stream.next().await.is_none());
        }
    }
}

#[tokio::test]
async fn a_reader_reads_once() {
    let case = Case::new(2, 3, Then::End, usize::MAX);
    assert_eq!(numbers(case.stream(0, 0)).await.unwrap(), up_to(3));
    let again = case.readers[0].execute(0, Arc::clone(&case.context));
    assert!(again.err().unwrap().to_string().contains("read twice"));
    let late = SharedExec::new(&case.input).execute(0, Arc::clone(&case.context));
    assert!(late.err().unwrap().to_string().contains("while it is executed"));
    // What is to be executed anew is a plan of its own.
    let reader: Arc<dyn ExecutionPlan> = Arc::new(SharedExec::new(&case.input));
    let anew = reset_plan_states(reader).unwrap();
    let stream = anew.execute(0, Arc::clone(&case.context)).unwrap();
    assert_eq!(numbers(stream).await.unwrap(), up_to(3));
}

#[tokio::test]
async fn a_reader_on_its_own_reads_the_plan() {
    let case = Case::new(1, 3, Then::End, 0);
    assert_eq!(numbers(case.stream(0, 0)).await.unwrap(), up_to(3));
    assert_eq!(numbers(case.stream(0, 1)).await.unwrap(), up_to(3));
    assert_eq!(case.n_spills(), 0);
}

#[test]
fn one_reader_shows_the_plan() {
    let case = Case::new(2, 3, Then::End, usize::MAX);
    let shown = case.readers[0].showing_input().unwrap();
    assert!(case.readers[0].showing_input().is_none());
    assert!(case.readers[1].showing_input().is_none());
    let text = |plan: &SharedExec| displayable(plan).indent(false).to_string();
    assert!(text(&shown).starts_with("SharedExec: #1, readers=2\n  StreamingTableExec"));
    assert_eq!(text(&case.readers[1]), "SharedExec: #1\n");
    assert_eq!(shown.reader, 0);
}

#[test]
fn slices_of_a_batch_count_once() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(2 * BYTES - 1));
    let mut memory = Memory::new(MemoryConsumer::new("slices").register(&pool));
    let whole = batch(7);
    let slices = [whole.slice(0, 10), whole.slice(10, 500), whole.slice(510, 490)];
    slices.iter().for_each(|slice| memory.try_keep(slice).unwrap());
    let held = pool.reserved();
    assert!((BYTES..2 * BYTES).contains(&held), "{held}");
    // What does not fit is not counted.
    memory.try_keep(&batch(8)).unwrap_err();
    assert_eq!(pool.reserved(), held);
    memory.release(&slices[0]);
    memory.release(&slices[2]);
    assert_eq!(pool.reserved(), held);
    memory.release(&slices[1]);
    assert_eq!(pool.reserved(), 0);
}
