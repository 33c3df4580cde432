//! Each operation on a real directory.

use kvnode_core::{Offset, PartitionId, SegmentId};
use tempfile::TempDir;

use super::*;

const P: PartitionId = PartitionId(3);
const LOG: File = File::Segment(P, Offset(7), SegmentId(1));

/// A disk with the directory of partition 3.
fn disk() -> (TempDir, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(dir.path(), 8);
    assert_eq!(disk.run(DiskOp::CreateDir(Dir::Partition(P))), Ok(DiskDone::Done));
    (dir, disk)
}

fn done(disk: &mut Disk, op: DiskOp) {
    assert_eq!(disk.run(op.clone()), Ok(DiskDone::Done), "{op:?}");
}

fn create(disk: &mut Disk, file: File, content: &'static str) {
    done(disk, DiskOp::Create(file));
    done(disk, DiskOp::Write { file, at: 0, data: Bytes::from_static(content.as_bytes()) });
}

fn read(disk: &mut Disk, file: File, at: u64, len: u32) -> DiskResult {
    disk.run(DiskOp::Read { file, at, len })
}

fn data(content: &'static str) -> DiskResult {
    Ok(DiskDone::Data(Bytes::from_static(content.as_bytes())))
}

#[test]
fn writes_are_read_back_and_short_at_the_end() {
    let (dir, mut disk) = disk();
    create(&mut disk, LOG, "hello");
    done(&mut disk, DiskOp::Write { file: LOG, at: 3, data: Bytes::from_static(b"p me") });
    done(&mut disk, DiskOp::Sync(LOG));
    assert_eq!(read(&mut disk, LOG, 0, 7), data("help me"));
    assert_eq!(read(&mut disk, LOG, 5, 100), data("me"));
    assert_eq!(read(&mut disk, LOG, 50, 100), data(""));
    assert_eq!(
        fs::read(dir.path().join("p3/00000000000000000007-00000001.log")).unwrap(),
        b"help me"
    );
}

#[test]
fn a_huge_read_takes_no_more_memory_than_the_file_has_bytes() {
    let (_dir, mut disk) = disk();
    create(&mut disk, LOG, "short");
    assert_eq!(read(&mut disk, LOG, 1, u32::MAX), data("hort"));
}

#[test]
fn create_empties_a_file_and_create_dir_minds_no_directory() {
    let (_dir, mut disk) = disk();
    create(&mut disk, LOG, "old");
    done(&mut disk, DiskOp::Create(LOG));
    assert_eq!(read(&mut disk, LOG, 0, 3), data(""));
    done(&mut disk, DiskOp::CreateDir(Dir::Partition(P)));
}

#[test]
fn zeros_fill_any_length_and_truncate_cuts() {
    let (_dir, mut disk) = disk();
    create(&mut disk, LOG, "x");
    let len = 3 * ZEROS.len() as u64 + 17;
    done(&mut disk, DiskOp::WriteZeros { file: LOG, at: 1, len });
    let Ok(DiskDone::Data(bytes)) = read(&mut disk, LOG, 0, 1 << 20) else { panic!("no data") };
    assert_eq!(bytes.len() as u64, len + 1);
    assert!(bytes[0] == b'x' && bytes[1..].iter().all(|&byte| byte == 0));
    done(&mut disk, DiskOp::Truncate { file: LOG, len: 2 });
    assert_eq!(read(&mut disk, LOG, 0, 10), data("x\0"));
}

#[test]
fn what_does_not_exist_is_not_found_and_deleting_it_is_no_error() {
    let (_dir, mut disk) = disk();
    assert_eq!(read(&mut disk, LOG, 0, 1), Err(DiskError::NotFound));
    assert_eq!(disk.run(DiskOp::Sync(LOG)), Err(DiskError::NotFound));
    assert_eq!(disk.run(DiskOp::List(Dir::Partition(PartitionId(9)))), Err(DiskError::NotFound));
    done(&mut disk, DiskOp::Delete(LOG));
    // The failure is not remembered.
    create(&mut disk, LOG, "here");
    assert_eq!(read(&mut disk, LOG, 0, 4), data("here"));
}

#[test]
fn a_prepared_read_survives_the_deletion_of_its_file() {
    let (_dir, mut disk) = disk();
    create(&mut disk, LOG, "still here");
    let queued = disk.prepare(DiskOp::Read { file: LOG, at: 0, len: 10 });
    done(&mut disk, DiskOp::Delete(LOG));
    assert_eq!(read(&mut disk, LOG, 0, 1), Err(DiskError::NotFound));
    assert_eq!(queued.run(), data("still here"));
}

#[test]
fn a_renamed_file_is_read_under_its_new_name() {
    let (_dir, mut disk) = disk();
    create(&mut disk, File::Manifest(P), "old");
    create(&mut disk, File::ManifestTmp(P), "new");
    let queued = disk.prepare(DiskOp::Read { file: File::Manifest(P), at: 0, len: 3 });
    done(&mut disk, DiskOp::Rename { from: File::ManifestTmp(P), to: File::Manifest(P) });
    done(&mut disk, DiskOp::SyncDir(Dir::Partition(P)));
    assert_eq!(read(&mut disk, File::Manifest(P), 0, 3), data("new"));
    assert_eq!(read(&mut disk, File::ManifestTmp(P), 0, 3), Err(DiskError::NotFound));
    assert_eq!(queued.run(), data("old"));
}

#[test]
fn lists_files_with_sizes_and_directories_but_not_the_lock() {
    let (dir, mut disk) = disk();
    fs::create_dir_all(dir.path().join("p7/below")).unwrap();
    fs::write(dir.path().join(LOCK_FILE), "1").unwrap();
    fs::write(dir.path().join("stray"), "four").unwrap();
    create(&mut disk, File::Meta, "meta!");
    let Ok(DiskDone::Listing(mut files)) = disk.run(DiskOp::List(Dir::Root)) else {
        panic!("no listing")
    };
    files.sort();
    let expected = [("META", 5), ("p3/", 0), ("p7/", 0), ("stray", 4)];
    assert_eq!(files, expected.map(|(name, len)| (name.to_owned(), len)));
    done(&mut disk, DiskOp::DeleteNamed(Dir::Root, "stray".to_owned()));
    assert!(!dir.path().join("stray").exists());
    done(&mut disk, DiskOp::DeleteNamed(Dir::Root, "stray".to_owned()));
}

#[test]
fn a_name_that_leaves_the_directory_or_is_the_lock_is_not_deleted() {
    let (dir, mut disk) = disk();
    fs::write(dir.path().join(LOCK_FILE), "1").unwrap();
    create(&mut disk, File::Meta, "meta");
    let up = DiskOp::DeleteNamed(Dir::Partition(P), "../META".to_owned());
    assert!(matches!(disk.run(up), Err(DiskError::Io(_))));
    let lock = DiskOp::DeleteNamed(Dir::Root, LOCK_FILE.to_owned());
    assert!(matches!(disk.run(lock), Err(DiskError::Io(_))));
    assert!(dir.path().join("META").exists() && dir.path().join(LOCK_FILE).exists());
}

#[test]
fn more_files_than_handles_are_opened_again() {
    let (_dir, mut disk) = disk();
    let segment = |n| File::Segment(P, Offset(n), SegmentId(n as u32));
    for n in 0..50 {
        create(&mut disk, segment(n), "abc");
    }
    assert_eq!(disk.handles.len(), 8);
    for n in 0..50 {
        assert_eq!(read(&mut disk, segment(n), 1, 2), data("bc"));
    }
}

#[test]
fn a_cached_read_gives_all_or_nothing() {
    let (_dir, mut disk) = disk();
    create(&mut disk, LOG, "in the page cache");
    let whole = disk.prepare(DiskOp::Read { file: LOG, at: 3, len: 3 });
    // A file system without RWF_NOWAIT never knows.
    if let Some(result) = whole.read_cached() {
        assert_eq!(result, data("the"));
    }
    assert_eq!(disk.prepare(DiskOp::Read { file: LOG, at: 7, len: 100 }).read_cached(), None);
    assert_eq!(disk.prepare(DiskOp::Sync(LOG)).read_cached(), None);
}

#[test]
fn a_full_disk_is_told_apart_from_a_broken_one() {
    assert_eq!(disk_error(Errno::NOSPC), DiskError::Full);
    assert_eq!(disk_error(Errno::DQUOT), DiskError::Full);
    assert_eq!(disk_error(Errno::IO), DiskError::Io(5));
    // The one file that is always full.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(write_all(full.as_fd(), 0, b"x").map_err(disk_error), Err(DiskError::Full));
}
