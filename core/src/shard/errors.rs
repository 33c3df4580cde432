//! What clients are told when the storage fails them: what happened, what it means for the
//! command, what to do.

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::lacking::Lacking;
use super::roles::Logged;
use crate::cluster::controller::{Request, RequestError};
use crate::cluster::remedy;
use crate::cluster::view::Quorum;
use crate::replication::TooFew;
use crate::reply::Reply;
use crate::storage::replica::{Damage, Dropped, ReadFault, Refusal};
use crate::{NodeId, PartitionId};

/// For a write that was dropped. A command of several `parts` has
/// been dropped in this partition at least, and is not known to be applied in any.
pub(super) fn dropped(partition: usize, what: Dropped, parts: bool) -> Reply {
    let in_part = if parts { ", or only in part" } else { "" };
    Reply::error_owned(match what {
        Dropped::DiskFull => return disk_full(partition, Logged::Write),
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

/// For a command that saw a write that was dropped, or waited for a clock that was, at a node that stands
/// alone; `applied` if it has changed keys elsewhere.
pub(super) fn undone(partition: usize, what: Dropped, applied: bool) -> Reply {
    let (code, why) = match what {
        Dropped::DiskFull => {
            let why = format!(
                "the disk of partition p{partition} is full, and what the reply depends on was not \
                 written"
            );
            ("DISKFULL", why)
        }
        Dropped::NotApplied | Dropped::Unknown => {
            let why = format!(
                "partition p{partition} stopped on a disk error before what the reply depends on was \
                 committed"
            );
            ("DOWN", why)
        }
    };
    let Unanswered { code: in_part, what: outcome, then } = part_unanswered(applied);
    let code = if applied { in_part } else { code };
    Reply::error_owned(format!("{code} {why}: {outcome}; {then}"))
}

/// Whether the command may have been applied, or was in part.
pub(super) fn is_in_doubt(reply: &Reply) -> bool {
    let Reply::Error(text) = reply else { return false };
    ["UNKNOWN ", "PARTIAL "].iter().any(|code| text.starts_with(code))
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

/// For a command whose write, or clock, was refused before it was logged by a partition in this state.
pub(super) fn refused(partition: usize, state: &str, refusal: Refusal, what: Logged) -> Reply {
    match refusal {
        Refusal::DiskFull => disk_full(partition, what),
        Refusal::NotServing => not_serving(partition, state),
        Refusal::SegmentsSpent => Reply::error_owned(format!(
            "DISKFULL partition p{partition} has numbered as many segments as it can: {}; move its \
             directory away if other replicas have its data, or copy its keys (DUMP, RESTORE) into a \
             new node with a larger --segment",
            not_logged(what)
        )),
        Refusal::IndexFull => Reply::error_owned(format!(
            "OOM the index of partition p{partition} has reached its limit: the write was not \
             applied; delete keys, or spread them over more partitions"
        )),
    }
}

fn disk_full(partition: usize, what: Logged) -> Reply {
    Reply::error_owned(format!(
        "DISKFULL the disk of partition p{partition} is full: {}; free some space and try again",
        not_logged(what)
    ))
}

/// What it means for a command that this is not logged.
fn not_logged(what: Logged) -> &'static str {
    match what {
        Logged::Write => "the write was not applied, reads go on",
        Logged::Clock => "it can not be agreed on that a key has expired, nothing was changed",
    }
}

/// For a client of another machine while anybody could do anything.
pub(super) fn protected() -> Reply {
    Reply::error(
        "DENIED kvnode is running in protected mode because protected mode is enabled and no \
         password is set for the default user. In this mode connections are only accepted from the \
         loopback interface. To connect from other machines, start the node with --password-file \
         or --acl-file. If whoever can reach the address may read and write everything, start it \
         with --protected-mode no, or send 'CONFIG SET protected-mode no' from the machine it \
         runs on.",
    )
}

/// For a SAVE while a partition can not write.
pub(super) fn not_saved() -> Reply {
    Reply::error(
        "ERR a partition does not serve, and what it has logged is not known to be durable; see INFO \
         kvnode",
    )
}

/// For one who would be shown the commands of all, and there are enough of them.
pub(super) fn too_many_monitors() -> Reply {
    Reply::error("ERR the limit of 16 monitors is reached; close one first")
}

/// For a command about the cluster where there is none.
pub(super) fn stands_alone() -> Reply {
    Reply::error("ERR This instance has cluster support disabled")
}

/// For a command about a slot that the node with this address leads.
pub(super) fn redirected(slot: u32, (host, port): (&str, u16)) -> Reply {
    Reply::error_owned(format!("MOVED {slot} {host}:{port}"))
}

/// For a command of which a part needs another leader than the rest.
pub(super) fn scattered() -> Reply {
    Reply::error("CROSSSLOT Keys in request don't hash to the same slot")
}

/// For a command about all keys, or those of a slot, after MULTI.
pub(super) fn about_all_keys(name: &str) -> Reply {
    let name = name.replace('|', " ").to_uppercase();
    Reply::error_owned(format!(
        "ERR {name} names no key, and in a cluster a transaction is of the partition of the keys that it \
         names: it was not queued, and EXEC will do nothing; send it outside MULTI"
    ))
}

/// For a command that found nobody to evaluate it.
pub(super) fn no_leader(lacking: &Lacking) -> Reply {
    let Lacking { me, partition, leader, leader_reached, silent, few: _, headless, remedy } =
        lacking;
    let nobody = Nobody(*headless, "to have another one elected");
    let why = match leader {
        None => format!("partition {partition} has no leader, for no replica in sync is there"),
        Some(leader) if !leader_reached => {
            format!("{leader}, which leads partition {partition}, is not reached from {me}{nobody}")
        }
        Some(leader) if leader == me && !silent.is_empty() => {
            let nobody = Nobody(*headless, "to change the in-sync set");
            let silent = Silent(silent);
            format!(
                "{me} is to lead partition {partition} and does not yet, since {silent} \
                 not acknowledged the beginning of its reign{nobody}"
            )
        }
        Some(leader) => format!("{leader} does not lead partition {partition} yet{nobody}"),
    };
    let then = match remedy {
        Some(remedy) if headless.is_none() => format!("{remedy}"),
        Some(_) | None => {
            format!("{}, and see kvnode status", then("try again", headless.is_some()))
        }
    };
    Reply::error_owned(format!("CLUSTERDOWN {why}: the command was not applied; {then}"))
}

/// For a command that found nobody to evaluate it, since who is to lead has no room for the beginning of
/// its reign.
pub(super) fn no_room(partition: PartitionId) -> Reply {
    Reply::error_owned(format!(
        "DISKFULL the disk of the node that is to lead partition {partition} is full, and nobody in \
         sync with space leads it: the command was not applied; free some space and try again"
    ))
}

/// For a write that its leader has logged, and that was not committed in time. A command of several
/// `parts` may have been applied to the others.
pub(super) fn uncommitted(lacking: &Lacking, parts: bool) -> Reply {
    let Lacking { me, partition, leader, silent, headless, .. } = lacking;
    let why = if leader != &Some(*me) {
        format!("{me} has logged the write and does not lead partition {partition} any more")
    } else if silent.is_empty() {
        format!(
            "the write is in the log of {me}, which leads partition {partition}, and it is not \
             committed yet"
        )
    } else {
        let nobody = Nobody(*headless, "to change the in-sync set");
        let silent = Silent(silent);
        format!(
            "the write is in the log of {me}, which leads partition {partition}, but {silent} not \
             acknowledged it{nobody}"
        )
    };
    let in_part = if parts { ", alone or with the rest of the command" } else { "" };
    Reply::error_owned(format!(
        "UNKNOWN {why}: it may or may not become committed later{in_part}; {}, and see kvnode status",
        then("read it back", headless.is_some())
    ))
}

/// For what is to be logged behind writes that were given up, and still wait to be committed.
pub(super) fn stuck(lacking: &Lacking, what: Logged) -> Reply {
    let Lacking { me, partition, silent, headless, .. } = lacking;
    let silent = match silent.is_empty() {
        true => "its replicas have".into(),
        false => format!("{}", Silent(silent)),
    };
    let nobody = Nobody(*headless, "to change the in-sync set");
    Reply::error_owned(format!(
        "NOREPLICAS {me} leads partition {partition}, but {silent} not acknowledged earlier \
         writes{nobody}: {}; {}, and see kvnode status",
        not_logged(what),
        then("try again", headless.is_some())
    ))
}

/// For a command that waited in vain for earlier writes, or a clock, to be committed; `applied` if it
/// has changed keys elsewhere.
pub(super) fn behind(lacking: &Lacking, applied: bool) -> Reply {
    let Lacking { me, partition, leader, silent, few, headless, .. } = lacking;
    if leader != &Some(*me) {
        return moved(partition.0 as usize, applied);
    }
    let why = match few {
        Some(TooFew { isr, min_isr }) => {
            format!("has {isr} replicas in sync and needs {min_isr} to commit")
        }
        None if silent.is_empty() => "has not committed".into(),
        None => {
            let nobody = Nobody(*headless, "to change the in-sync set");
            format!("waits for {}{nobody}, and has not committed", Awaited(silent))
        }
    };
    let Unanswered { code, what, then: todo } = part_unanswered(applied);
    Reply::error_owned(format!(
        "{code} partition {partition}, which {me} leads, {why} what the reply depends on: {what}; \
         {}, and see kvnode status",
        then(todo, headless.is_some())
    ))
}

/// For a read whose leader could not make sure in time that it leads still; `applied` if the command has
/// changed keys elsewhere.
pub(super) fn unconfirmed(lacking: &Lacking, applied: bool) -> Reply {
    let Lacking { me, partition, leader, silent, headless, .. } = lacking;
    if leader != &Some(*me) {
        return moved(partition.0 as usize, applied);
    }
    let silent = match silent.is_empty() {
        true => "its replicas have".into(),
        false => format!("{}", Silent(silent)),
    };
    let nobody = Nobody(*headless, "to change the in-sync set");
    let Unanswered { code, what, then: todo } = part_unanswered(applied);
    Reply::error_owned(format!(
        "{code} {me} can not make sure that it leads partition {partition} still, since {silent} not \
         said so{nobody}: {what}; {}, and see kvnode status",
        then(todo, headless.is_some())
    ))
}

/// For a command that was forwarded to this node and not answered; `lacking` is of the asker.
pub(super) fn unanswered(node: NodeId, lacking: &Lacking, broken: bool, reads: bool) -> Reply {
    let Lacking { me, partition, headless, .. } = lacking;
    let why = match broken {
        true => format!(
            "the link from {me} to {node}, which leads partition {partition}, broke \
             before the answer came"
        ),
        false => format!("{node}, which leads partition {partition}, has not answered {me}"),
    };
    let nobody = Nobody(*headless, "to have another one elected");
    let (code, outcome, todo) = match reads {
        true => ("TRYAGAIN", "nothing was changed", "try again"),
        false => ("UNKNOWN", "the command may or may not have been applied", "read it back"),
    };
    Reply::error_owned(format!(
        "{code} {why}{nobody}: {outcome}; {}, and see kvnode status",
        then(todo, headless.is_some())
    ))
}

/// For an operator whose request the controller has not done, as far as is known.
pub(super) fn by_controller(error: RequestError, request: &Request) -> Reply {
    Reply::error_owned(match error {
        RequestError::Refused(refusal) => {
            let then = remedy::after(refusal, request);
            let then = if then.is_empty() { String::new() } else { format!("; {then}") };
            format!("REFUSED {refusal}: nothing was changed{then}")
        }
        RequestError::TooMany => {
            format!("TRYAGAIN {error}: nothing was changed; try again")
        }
        RequestError::NoController => format!(
            "CLUSTERDOWN {error} in time: nothing was changed; start the nodes that are down, then \
             try again, and see kvnode status"
        ),
        RequestError::Unknown => String::from(
            "UNKNOWN the controller has not said whether it was done: it may have been, or be done \
             yet; see kvnode status",
        ),
    })
}

/// What to do, and what before it where a decision is needed and nobody decides.
fn then(todo: &str, headless: bool) -> String {
    match headless {
        true => format!("start the nodes that are down, then {todo}"),
        false => todo.into(),
    }
}

/// That nobody is there to decide something, if so.
struct Nobody(Option<Quorum>, &'static str);

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Some(Quorum { voters, alive }), what) = self else { return Ok(()) };
        write!(f, ", and there is no controller {what} ({alive} of {voters} voters reached)")
    }
}

/// Nodes in sync that have not done what is told behind them.
struct Silent<'a>(&'a [NodeId]);

impl fmt::Display for Silent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Awaited(self.0), if self.0.len() == 1 { "has" } else { "have" })
    }
}

/// Nodes in sync that are waited for.
struct Awaited<'a>(&'a [NodeId]);

impl fmt::Display for Awaited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if n > 0 { ", " } else { "" })?;
        }
        f.write_str(" (in sync)")
    }
}

/// For a command that no frame between two nodes holds.
pub(super) fn too_long_to_forward() -> Reply {
    Reply::error(
        "ERR the command is too long to go to the node that leads its partition: what is for that one \
         was not applied. Ask that node itself (see CLUSTER SLOTS), or for fewer keys at a time",
    )
}

/// For a reply that no frame between two nodes holds.
pub(super) fn reply_too_long() -> Reply {
    Reply::error(
        "UNKNOWN the reply is too long to come from the node that leads the partition, and is lost: a \
         read has changed nothing, and what writes was applied as far as it could be. Read the keys \
         back, from that node itself (see CLUSTER SLOTS) or fewer at a time",
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
    let Unanswered { code, what, then } = part_unanswered(applied);
    Reply::error_owned(format!(
        "{code} the leadership of partition p{partition} moved while the command was being answered: \
         {what}; {then}"
    ))
}

/// What a command is told of which one part could not be answered; `applied` if others were.
struct Unanswered {
    code: &'static str,
    what: &'static str,
    then: &'static str,
}

fn part_unanswered(applied: bool) -> Unanswered {
    let (code, what, then) = match applied {
        // A client library sends again by itself what is told TRYAGAIN.
        true => ("PARTIAL", "its other part was applied", "read it back"),
        false => ("TRYAGAIN", "nothing was changed", "try again"),
    };
    Unanswered { code, what, then }
}

/// For what is to be logged while too few replicas are in sync.
pub(super) fn too_few(partition: PartitionId, few: TooFew, what: Logged) -> Reply {
    Reply::error_owned(format!(
        "NOREPLICAS partition {partition} has {} replicas in sync and needs {}: {}; try again once \
         more nodes are up",
        few.isr,
        few.min_isr,
        not_logged(what)
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

const _: () = assert!(crate::limits::MONITORS_MAX == 16, "the error text names it");
