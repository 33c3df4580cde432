//! What clients are told when the storage fails them: what happened, what it means for the
//! command, what to do.

use alloc::format;

use crate::replication::TooFew;
use crate::reply::Reply;
use crate::storage::replica::{Damage, Dropped, ReadFault, Refusal};
use crate::{NodeId, PartitionId};

/// For a write (or a read that depended on one) that was dropped. A command of several `parts` has
/// been dropped in this partition at least, and is not known to be applied in any.
pub(super) fn dropped(partition: usize, what: Dropped, parts: bool) -> Reply {
    let in_part = if parts { ", or only in part" } else { "" };
    Reply::error_owned(match what {
        Dropped::DiskFull => return disk_full(partition),
        Dropped::NotApplied => format!(
            "DOWN partition p{partition} stopped on a disk error before the command was written: \
             it was not applied; try again when the partition is back"
        ),
        Dropped::Unknown => format!(
            "UNKNOWN partition p{partition} stopped or changed its leader while the command was being \
             written: it may or may not have been applied{in_part}; read it back when the partition \
             serves again"
        ),
    })
}

/// For a command whose part in one partition was dropped for certain, and applied in others.
pub(super) fn applied_in_part(partition: usize, what: Dropped) -> Reply {
    let (happened, then) = match what {
        Dropped::DiskFull => (format!("the disk of partition p{partition} is full"), "with space"),
        Dropped::NotApplied | Dropped::Unknown => {
            let happened = format!(
                "partition p{partition} stopped on a disk error before its part of the command \
                 was written"
            );
            (happened, "when the partition is back")
        }
    };
    Reply::error_owned(format!(
        "PARTIAL {happened}: the command was not applied to its keys there, and the rest was \
         applied; read the keys back, and send the command again {then}"
    ))
}

/// For a write that was refused before it was logged by a partition in this state.
pub(super) fn refused(partition: usize, state: &str, refusal: Refusal) -> Reply {
    match refusal {
        Refusal::DiskFull => disk_full(partition),
        Refusal::NotServing => not_serving(partition, state),
        Refusal::IndexFull => Reply::error_owned(format!(
            "OOM the index of partition p{partition} has reached its limit: the write was not \
             applied; delete keys, or spread them over more partitions"
        )),
    }
}

fn disk_full(partition: usize) -> Reply {
    Reply::error_owned(format!(
        "DISKFULL the disk of partition p{partition} is full: the write was not applied, reads go \
         on; free some space and try again"
    ))
}

/// For a command about the cluster where there is none.
pub(super) fn stands_alone() -> Reply {
    Reply::error("ERR This instance has cluster support disabled")
}

/// For a command of which a part needs another leader than the rest.
pub(super) fn scattered() -> Reply {
    Reply::error("CROSSSLOT Keys in request don't hash to the same slot")
}

/// For a command that found nobody to evaluate it.
pub(super) fn no_leader(partition: PartitionId) -> Reply {
    Reply::error_owned(format!(
        "CLUSTERDOWN partition {partition} has no leader that can be reached: the command was not \
         applied; try again, and see kvnode status"
    ))
}

/// For a write that was forwarded and not answered.
pub(super) fn unknown_abroad(node: NodeId, partition: PartitionId) -> Reply {
    Reply::error_owned(format!(
        "UNKNOWN {node}, which leads partition {partition}, has not answered: the command may or \
         may not have been applied; read it back"
    ))
}

/// For a command, or a reply, that no frame between two nodes holds.
pub(super) fn too_long_to_forward() -> Reply {
    Reply::error(
        "ERR the command or its reply is too long to go to the node that leads its partition; if \
         it is a read, nothing was changed; else read the keys back. Ask that node itself (see \
         CLUSTER SLOTS), or for fewer keys at a time",
    )
}

/// For changes that no frame between two nodes holds.
pub(super) fn too_long_to_replicate() -> Reply {
    Reply::error(
        "ERR the command changes more than 64 MiB at once, which can not be replicated: it was not \
         applied; change fewer keys at a time",
    )
}

/// For a client of another node that has too much waiting here.
pub(super) fn too_many_asked() -> Reply {
    Reply::error(
        "ERR too many commands of this client wait at the leader: this one was not applied",
    )
}

/// For a command whose keys turn out not to be here.
pub(super) fn elsewhere() -> Reply {
    Reply::error(
        "TRYAGAIN the partition of this key has moved to another node: the command was not applied; \
         try again",
    )
}

/// For a read whose leader may have been none any more; `applied` if it has changed keys elsewhere.
pub(super) fn moved(partition: usize, applied: bool) -> Reply {
    let applied = if applied { "its other part was applied" } else { "nothing was changed" };
    Reply::error_owned(format!(
        "TRYAGAIN the leadership of partition p{partition} moved while the command was being \
         answered: {applied}; try again"
    ))
}

/// For a write while too few replicas are in sync.
pub(super) fn too_few(partition: PartitionId, few: TooFew) -> Reply {
    Reply::error_owned(format!(
        "NOREPLICAS partition {partition} has {} replicas in sync and needs {}: the write was not \
         applied, reads go on; try again once more nodes are up",
        few.isr, few.min_isr
    ))
}

/// For a command while no partition is open.
pub(super) fn nothing_open(member: bool) -> Reply {
    if member {
        return Reply::error(
            "CLUSTERDOWN the cluster has placed no partitions yet: nothing was changed; try again \
             once its nodes are up",
        );
    }
    not_serving(0, "opening")
}

/// For a command whose partition does not serve.
pub(super) fn not_serving(partition: usize, state: &str) -> Reply {
    if state == "opening" {
        return Reply::error("LOADING kvnode is loading the dataset in memory");
    }
    if state == "stopping" || state == "ended" {
        return Reply::error("LOADING kvnode is stopping: the command was not applied");
    }
    Reply::error_owned(format!(
        "DOWN partition p{partition} is {state} after a disk error: the command was not applied; \
         try again when the partition is back"
    ))
}

/// For a key that may have been in a damaged range of the log.
pub(super) fn damaged(partition: usize, damage: &Damage) -> Reply {
    Reply::error_owned(format!(
        "CORRUPT offsets {} to {} of partition p{partition} can not be read, and a newer value of \
         this key may have been there: nothing was changed; restore the data directory, or write \
         the key anew or delete it (see kvnode check)",
        damage.from, damage.to
    ))
}

/// For a key whose record could not be read.
pub(super) fn unreadable(partition: usize, fault: ReadFault) -> Reply {
    match fault {
        ReadFault::Corrupt => Reply::error_owned(format!(
            "CORRUPT the record of this key in partition p{partition} is damaged: nothing was \
             changed; restore the data directory, or write the key anew (see kvnode check)"
        )),
        ReadFault::Disk(error) => Reply::error_owned(format!(
            "CORRUPT the record of this key in partition p{partition} can not be read ({error}): \
             nothing was changed; try again, restore the data directory, or write the key anew"
        )),
        ReadFault::Stopped => not_serving(partition, "down"),
    }
}
