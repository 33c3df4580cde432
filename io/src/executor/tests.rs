//! The order of operations on one file, whichever thread runs them.

use std::future::poll_fn;

use bytes::Bytes;
use kvnode_core::disk::DiskDone;
use kvnode_core::{Offset, PartitionId, SegmentId};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;

const P: PartitionId = PartitionId(0);
const LOG: File = File::Segment(P, Offset(0), SegmentId(1));

struct World {
    _dir: TempDir,
    runtime: Runtime,
    executor: Executor,
    last: u64,
}

impl World {
    fn new() -> Self {
        Self::with(Fsyncs::InPlace)
    }

    fn with(fsyncs: Fsyncs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path(), 4);
        disk.run(DiskOp::CreateDir(Dir::Partition(P))).unwrap();
        let lock = Arc::new(DirLock::acquire(dir.path()).unwrap());
        let executor =
            Executor::start(std::rc::Rc::new(std::cell::RefCell::new(disk)), &lock, 2, fsyncs)
                .unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        Self { _dir: dir, runtime, executor, last: 0 }
    }

    fn submit(&mut self, op: DiskOp) -> (IoId, Option<DiskResult>) {
        self.last += 1;
        let io = IoId(self.last);
        (io, self.executor.submit(io, op))
    }

    /// Waits for the next result from the helper threads.
    fn next(&mut self) -> (IoId, DiskResult) {
        self.runtime.block_on(poll_fn(|cx| self.executor.poll_done(cx)))
    }

    /// Submits and waits.
    fn run(&mut self, op: DiskOp) -> DiskResult {
        let (io, result) = self.submit(op);
        result.unwrap_or_else(|| {
            let (done, result) = self.next();
            assert_eq!(done, io, "nothing else was under way");
            result
        })
    }

    fn disk_is(&mut self, fsync: Duration) {
        self.executor.pace.fsync = Some(fsync);
        self.executor.begin_round(core::iter::empty());
    }
}

fn write(file: File, at: u64, data: &'static [u8]) -> DiskOp {
    DiskOp::Write { file, at, data: Bytes::from_static(data) }
}

fn read(file: File, at: u64, len: u32) -> DiskOp {
    DiskOp::Read { file, at, len }
}

const QUICK: Duration = Duration::from_micros(100);
const SLOW: Duration = Duration::from_millis(10);

#[test]
fn a_quick_disk_is_written_and_synced_in_place_and_a_slow_one_is_not() {
    let mut world = World::new();
    world.run(DiskOp::Create(LOG)).unwrap();
    world.disk_is(QUICK);
    assert_eq!(world.submit(write(LOG, 0, b"a")).1, Some(Ok(DiskDone::Done)));
    assert_eq!(world.submit(DiskOp::Sync(LOG)).1, Some(Ok(DiskDone::Done)));
    world.disk_is(SLOW);
    assert_eq!(world.submit(write(LOG, 1, b"b")).1, None);
    assert_eq!(world.submit(DiskOp::Sync(LOG)).1, None);
    assert_eq!(world.next(), (IoId(4), Ok(DiskDone::Done)));
    assert_eq!(world.next(), (IoId(5), Ok(DiskDone::Done)));
}

#[test]
fn before_the_first_fsync_the_disk_is_not_trusted_to_be_quick() {
    let mut world = World::new();
    world.run(DiskOp::Create(LOG)).unwrap();
    assert_eq!(world.submit(DiskOp::Sync(LOG)).1, None);
    world.next().1.unwrap();
    assert!(world.executor.pace.fsync.is_some());
}

#[test]
fn a_disk_that_is_quick_again_gets_its_work_in_place_again() {
    let mut pace = Pace { fsync: Some(SLOW), ..Pace::default() };
    assert!(!pace.allows(&DiskOp::Sync(LOG)));
    for _ in 0..32 {
        pace.measured(QUICK);
    }
    assert!(pace.allows(&DiskOp::Sync(LOG)));
    // A single stall, however long, is forgotten about as soon.
    pace.measured(Duration::from_secs(30));
    assert!(!pace.allows(&DiskOp::Sync(LOG)));
    for _ in 0..32 {
        pace.measured(QUICK);
    }
    assert!(pace.allows(&DiskOp::Sync(LOG)));
}

#[test]
fn an_fsync_with_much_to_write_leaves_the_thread_and_does_not_count() {
    let mut pace = Pace { fsync: Some(QUICK), ..Pace::default() };
    let much = DiskOp::WriteZeros { file: LOG, at: 0, len: IN_PLACE_BYTES_MAX + 1 };
    assert!(!pace.allows(&much));
    assert_eq!(pace.submitted(&much), Fsync::Not);
    assert!(!pace.allows(&DiskOp::Sync(LOG)));
    assert_eq!(pace.submitted(&DiskOp::Sync(LOG)), Fsync::Not);
    assert!(pace.allows(&DiskOp::Sync(LOG)));
    assert_eq!(pace.submitted(&DiskOp::Sync(LOG)), Fsync::Timed);
}

#[test]
fn all_fsyncs_of_a_round_together_stay_under_the_limit() {
    let mut pace = Pace { fsync: Some(QUICK), ..Pace::default() };
    pace.spent_in_round = IN_PLACE_FSYNC_MAX;
    assert!(!pace.allows(&DiskOp::Sync(LOG)));
}

#[test]
fn fsyncs_of_several_partitions_run_side_by_side_and_the_last_in_place() {
    let mut world = World::new();
    let logs = [1, 2, 3].map(|p| File::Segment(PartitionId(p), Offset(0), SegmentId(1)));
    for log in logs {
        world.run(DiskOp::CreateDir(log.dir())).unwrap();
        world.run(DiskOp::Create(log)).unwrap();
    }
    world.disk_is(QUICK);
    let ops = logs.map(DiskOp::Sync);
    world.executor.begin_round(ops.iter());
    let results = ops.map(|op| world.submit(op).1);
    assert_eq!(results, [None, None, Some(Ok(DiskDone::Done))]);
    world.next().1.unwrap();
    world.next().1.unwrap();
    // One partition alone has all of it in place. How long those fsyncs took says nothing here.
    world.disk_is(QUICK);
    let ops = [write(logs[0], 0, b"a"), DiskOp::Sync(logs[0])];
    world.executor.begin_round(ops.iter());
    assert!(ops.into_iter().all(|op| world.submit(op).1.is_some()));
}

#[test]
fn whoever_has_something_else_to_do_has_no_fsync_in_place() {
    let mut world = World::with(Fsyncs::Aside);
    world.run(DiskOp::Create(LOG)).unwrap();
    world.disk_is(QUICK);
    let ops = [write(LOG, 0, b"a"), DiskOp::Sync(LOG)];
    world.executor.begin_round(ops.iter());
    let results = ops.map(|op| world.submit(op).1);
    assert_eq!(results, [Some(Ok(DiskDone::Done)), None]);
    world.next().1.unwrap();
}

#[test]
fn in_place_waits_its_turn_behind_the_writer_thread_but_only_on_the_same_file() {
    let mut world = World::new();
    let other = File::Segment(P, Offset(9), SegmentId(2));
    world.run(DiskOp::Create(LOG)).unwrap();
    world.run(DiskOp::Create(other)).unwrap();
    world.disk_is(SLOW);
    assert_eq!(world.submit(write(LOG, 0, b"first")).1, None);
    world.disk_is(QUICK);
    assert_eq!(world.submit(write(LOG, 0, b"second")).1, None);
    assert_eq!(world.submit(write(other, 0, b"other")).1, Some(Ok(DiskDone::Done)));
    // It reads what is being written, so it comes behind that.
    let (io, result) = world.submit(read(LOG, 0, 6));
    assert_eq!(result, None);
    world.next().1.unwrap();
    world.next().1.unwrap();
    assert_eq!(world.next(), (io, Ok(DiskDone::Data(Bytes::from_static(b"second")))));
    assert!(world.executor.busy.is_empty());
}

#[test]
fn a_read_of_old_bytes_passes_a_write_behind_them() {
    let mut world = World::new();
    world.run(DiskOp::Create(LOG)).unwrap();
    world.run(write(LOG, 0, b"old")).unwrap();
    world.disk_is(SLOW);
    world.submit(write(LOG, 3, b"new"));
    world.submit(DiskOp::Sync(LOG));
    let (_, result) = world.submit(read(LOG, 0, 3));
    let data = result.unwrap_or_else(|| {
        // Without RWF_NOWAIT a reader thread has it.
        loop {
            if let (IoId(5), result) = world.next() {
                return result;
            }
        }
    });
    assert_eq!(data, Ok(DiskDone::Data(Bytes::from_static(b"old"))));
}

#[test]
fn a_truncation_is_held_until_a_reader_thread_has_read() {
    let mut world = World::new();
    world.run(DiskOp::Create(LOG)).unwrap();
    world.run(write(LOG, 0, b"some bytes")).unwrap();
    // Longer than the file, so no read without waiting can know that it is whole.
    let (first, result) = world.submit(read(LOG, 0, 100));
    assert_eq!(result, None);
    let (cut, _) = world.submit(DiskOp::Truncate { file: LOG, len: 4 });
    let (second, _) = world.submit(read(LOG, 0, 100));
    assert_eq!(world.executor.held.len(), 2);
    assert_eq!(world.next(), (first, Ok(DiskDone::Data(Bytes::from_static(b"some bytes")))));
    assert_eq!(world.next(), (cut, Ok(DiskDone::Done)));
    assert_eq!(world.next(), (second, Ok(DiskDone::Data(Bytes::from_static(b"some")))));
    assert!(world.executor.held.is_empty() && world.executor.busy.is_empty());
}

#[test]
fn joining_does_what_was_given_before() {
    let mut world = World::new();
    world.run(DiskOp::Create(LOG)).unwrap();
    for n in 0..100 {
        world.disk_is(SLOW);
        world.submit(write(LOG, n, b"x"));
    }
    let World { _dir: dir, executor, .. } = world;
    executor.joined().blocking_recv().expect("they end");
    assert_eq!(std::fs::read(dir.path().join(LOG.to_string())).unwrap(), [b'x'; 100]);
    DirLock::acquire(dir.path()).expect("the helpers gave the lock back");
}

/// One step of the random test: an operation, or a turn of the world around it.
#[derive(Clone, Debug)]
enum Step {
    Op(DiskOp),
    Disk(Duration),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let file = prop_oneof![Just(LOG), Just(File::Manifest(P)), Just(File::ManifestTmp(P))];
    let op = (file, 0u64..200, 1u64..200, any::<u8>()).prop_flat_map(|(file, at, len, byte)| {
        prop_oneof![
            4 => Just(DiskOp::Write { file, at, data: vec![byte; len as usize].into() }),
            1 => Just(DiskOp::WriteZeros { file, at, len }),
            2 => Just(DiskOp::Sync(file)),
            // Some within the file, which may come from the cache; some beyond its end, which never
            // do.
            4 => Just(read(file, at, len as u32)),
            4 => Just(read(file, at, 1000)),
            1 => Just(DiskOp::Truncate { file, len: at }),
            1 => Just(DiskOp::Create(file)),
            1 => Just(DiskOp::Delete(file)),
            1 => Just(DiskOp::Rename { from: File::ManifestTmp(P), to: File::Manifest(P) }),
        ]
    });
    prop_oneof![
        16 => op.prop_map(Step::Op),
        2 => prop_oneof![Just(QUICK), Just(SLOW)].prop_map(Step::Disk),
        2 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Every operation has the result that it would have if each were waited for before the next.
    #[test]
    fn results_are_those_of_one_operation_after_the_other(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        let plain_dir = tempfile::tempdir().unwrap();
        let mut plain = Disk::new(plain_dir.path(), 4);
        plain.run(DiskOp::CreateDir(Dir::Partition(P))).unwrap();
        let mut expected = HashMap::new();
        for step in steps {
            match step {
                Step::Op(op) => {
                    let want = plain.run(op.clone());
                    let (io, got) = world.submit(op.clone());
                    match got {
                        Some(got) => prop_assert_eq!(got, want, "{:?} in place", op),
                        None => {
                            expected.insert(io, (op, want));
                        }
                    }
                }
                Step::Disk(fsync) => world.disk_is(fsync),
                Step::Wait if expected.is_empty() => {}
                Step::Wait => {
                    let (io, got) = world.next();
                    let (op, want) = expected.remove(&io).unwrap();
                    prop_assert_eq!(got, want, "{:?}", op);
                }
            }
        }
        while !expected.is_empty() {
            let (io, got) = world.next();
            let (op, want) = expected.remove(&io).unwrap();
            prop_assert_eq!(got, want, "{:?}", op);
        }
        prop_assert!(world.executor.busy.is_empty() && world.executor.held.is_empty());
    }
}
