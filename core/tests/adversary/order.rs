//! Which operations of a disk keep their order: those on one file.

use kvnode_core::disk::{Dir, DiskOp, File};

/// The files that an operation is on, by name. Directories have no order.
pub(crate) fn files(op: &DiskOp) -> Vec<File> {
    match op {
        DiskOp::Create(file)
        | DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Sync(file)
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete(file) => vec![*file],
        DiskOp::Rename { from, to } => vec![*from, *to],
        DiskOp::CreateDir(_) | DiskOp::List(_) | DiskOp::DeleteNamed(..) | DiskOp::SyncDir(_) => {
            Vec::new()
        }
    }
}

/// Whether a later operation on `files` must wait for `op`.
pub(crate) fn clash(later: &[File], op: &DiskOp) -> bool {
    match op {
        DiskOp::DeleteNamed(dir, name) => later.iter().any(|file| {
            let path = match dir {
                Dir::Root => name.clone(),
                Dir::Partition(p) => format!("{p}/{name}"),
            };
            file.to_string() == path
        }),
        _ => files(op).iter().any(|file| later.contains(file)),
    }
}
