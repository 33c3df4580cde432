//! Disk operations and their answers in one line.

use kvnode_core::IoId;
use kvnode_core::disk::{DiskDone, DiskOp, DiskResult};

/// The lower part of the number of an operation, in bits.
const IO_BITS: u32 = 48;

/// Whether control has asked for it, and not the shard.
pub(crate) fn is_of_control(id: IoId) -> bool {
    matches!(id.0 >> IO_BITS, 0xfffe | 0xfffd)
}

/// The upper part of the number is whose operation it is: a partition's, the boot's, or control's.
pub(crate) fn io(id: IoId) -> String {
    match (id.0 >> IO_BITS, id.0 & ((1 << IO_BITS) - 1)) {
        (0xffff, _) => "io boot".to_owned(),
        (0xfffe, n) => format!("io log:{n}"),
        (0xfffd, _) => "io meta".to_owned(),
        (partition, n) => format!("io p{partition}:{n}"),
    }
}

pub(crate) fn op(op: &DiskOp) -> String {
    match op {
        DiskOp::CreateDir(dir) => format!("make directory {dir}"),
        DiskOp::List(dir) => format!("list {dir}"),
        DiskOp::Create(file) => format!("create {file}"),
        DiskOp::Write { file, at, data } => {
            format!("write {file} {} bytes at {at}", data.len())
        }
        DiskOp::WriteZeros { file, at, len } => format!("write {file} {len} zeros at {at}"),
        DiskOp::Sync(file) => format!("fsync {file}"),
        DiskOp::Read { file, at, len } => format!("read {file} {len} bytes at {at}"),
        DiskOp::Truncate { file, len } => format!("cut {file} to {len} bytes"),
        DiskOp::Rename { from, to } => format!("rename {from} to {to}"),
        DiskOp::Delete(file) => format!("delete {file}"),
        DiskOp::DeleteNamed(dir, name) => format!("delete {dir}/{name}"),
        DiskOp::SyncDir(dir) => format!("fsync directory {dir}"),
    }
}

pub(crate) fn result(result: &DiskResult) -> String {
    match result {
        Ok(DiskDone::Done) => "done".to_owned(),
        Ok(DiskDone::Data(data)) => format!("{} bytes", data.len()),
        Ok(DiskDone::Listing(files)) => format!("{} names", files.len()),
        Err(error) => error.to_string(),
    }
}
