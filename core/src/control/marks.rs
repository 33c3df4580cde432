//! The rare states of a member, told from what its machines say.

use crate::cluster::{
    Changes, Command, ControllerMessage, Map, RegisterRefusal, Right, controller,
};
use crate::election::{Change, Message, Role, Stored};
use crate::marks::{Mark, Marks};
use crate::{Index, Term};

/// What a member begins with.
pub(super) fn begins(marks: &mut Marks, stored: &Stored) {
    let last = stored.entries.last().map_or(stored.snapshot.term, |entry| entry.term);
    marks.hit_if(stored.vote.is_some() && stored.term > last, Mark::VoteRemembered);
}

/// What is written; `applied` is how far the map has come.
pub(super) fn writes(marks: &mut Marks, changes: &[Change], applied: Index) {
    for change in changes {
        match change {
            Change::TruncateFrom(_) => marks.hit(Mark::ConflictCut),
            // The member's own one is never ahead of its map.
            Change::Snapshot(snapshot) => {
                marks.hit_if(snapshot.index > applied, Mark::SnapshotInstalled);
            }
            Change::Vote { .. } | Change::Append(_) | Change::PurgeTo(_) => {}
        }
    }
}

/// What is sent.
pub(super) fn sends(marks: &mut Marks, message: &Message) {
    match message {
        Message::PreVoteReply(m) => marks.hit_if(!m.granted, Mark::PreVoteRefused),
        Message::VoteReply(m) => marks.hit_if(!m.granted, Mark::VoteRefused),
        Message::Chunk(m) => {
            marks.hit_if(m.at > 0 && !m.data.is_empty(), Mark::SnapshotInPieces);
        }
        Message::PreVote(_)
        | Message::Vote(_)
        | Message::Append(_)
        | Message::AppendReply(_)
        | Message::ChunkReply(_)
        | Message::TimeoutNow(_) => {}
    }
}

/// From what to what the member changes.
pub(super) fn becomes(marks: &mut Marks, was: (Role, Term), is: (Role, Term)) {
    let steps_down = was.0 == Role::Leader && is.0 != Role::Leader && was.1 == is.1;
    marks.hit_if(steps_down, Mark::SteppedDown);
}

/// What the controller wants.
pub(super) fn controls(marks: &mut Marks, output: &controller::Output) {
    use controller::Output;
    match output {
        Output::Propose(command) => {
            marks.hit_if(matches!(command, Command::Fence(_)), Mark::NodeFenced);
        }
        Output::Answer(_, ControllerMessage::RegisterRefused { why, .. }) => {
            marks.hit_if(*why == RegisterRefusal::DuplicateId, Mark::DuplicateRefused);
        }
        Output::Answer(..) | Output::Reply(..) | Output::Ignored(..) | Output::Notice(..) => {}
    }
}

/// A command has changed the map.
pub(super) fn applies(marks: &mut Marks, command: &Command, changes: &Changes, map: &Map) {
    let offline = |id| map.partition(id).is_some_and(|partition| partition.leader.is_none());
    marks.hit_if(changes.partitions.iter().any(|&id| offline(id)), Mark::PartitionOffline);
    let unclean = matches!(command, Command::ElectLeader(e) if e.right == Right::Operator);
    marks.hit_if(unclean, Mark::UncleanElection);
}
