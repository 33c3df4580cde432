//! What nodes say to each other, in a few words.

use kvnode_core::cluster::{BrokerMessage, Command, ControllerMessage};
use kvnode_core::control::Message;
use kvnode_core::election::{self, Entry, Payload};

/// A message in a line that fits beside an arrow.
pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Fresh => "I am fresh".to_owned(),
        Message::Join(join) => {
            format!("join, from {}", join.snapshot.position())
        }
        Message::Election(message) => election(message),
        Message::Broker(BrokerMessage::Register(_)) => "register me".to_owned(),
        Message::Broker(BrokerMessage::Heartbeat(beat)) => {
            let stop = if beat.wants_stop { ", would stop" } else { "" };
            format!("here {} applied {}{stop}", beat.incarnation, beat.applied)
        }
        Message::Broker(BrokerMessage::Alter(alter)) => {
            format!("alter {} {} to {}", alter.partition, alter.partition_epoch, list(&alter.isr))
        }
        Message::Controller(ControllerMessage::Heard { incarnation, may_stop }) => {
            format!("heard {incarnation}{}", if *may_stop { ", may stop" } else { "" })
        }
        Message::Controller(ControllerMessage::RegisterRefused { why, .. }) => {
            format!("not registered: {why}")
        }
        Message::Controller(ControllerMessage::AlterRefused { partition, why, .. }) => {
            format!("{partition} not altered: {why}")
        }
        Message::Ask(ask) => format!("an operator asks: {}", ask.request),
        Message::Answer(answer) => match answer.outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => error.to_string(),
        },
    }
}

fn election(message: &election::Message) -> String {
    use kvnode_core::election::Message as M;
    let yes = |granted| if granted { "yes" } else { "no" };
    match message {
        M::PreVote(m) => format!("would you vote in {}? last {}", m.asked, m.last),
        M::PreVoteReply(m) => format!("{}, would in {}", yes(m.granted), m.asked),
        M::Vote(m) => format!("vote for me in {}, last {}", m.term, m.last),
        M::VoteReply(m) => format!("vote in {}: {}", m.term, yes(m.granted)),
        M::Append(m) if m.entries.is_empty() => {
            format!("beat {} at {} commit {}", m.term, m.prev, m.commit)
        }
        M::Append(m) => {
            let more = if m.entries.len() > 1 {
                format!("+{}", m.entries.len() - 1)
            } else {
                String::new()
            };
            format!("append {} {}{more} commit {}", m.term, self::entry(&m.entries[0]), m.commit)
        }
        M::AppendReply(m) => match m.conflict {
            Some(conflict) => format!("conflict at {}, try {}", conflict.prev, conflict.first),
            None => format!("have {}, durable {}", m.matched, m.durable),
        },
        M::Chunk(m) => format!("snapshot {} {}+{} of {}", m.last, m.at, m.data.len(), m.total),
        M::ChunkReply(m) => format!("hold {} bytes of {}", m.held, m.last),
        M::TimeoutNow(m) => format!("take over after {}", m.term),
    }
}

/// An entry of the quorum's log.
pub(crate) fn entry(entry: &Entry) -> String {
    let what = match &entry.payload {
        Payload::Noop => "noop".to_owned(),
        Payload::Voters(voters) => format!("voters {voters}"),
        Payload::Command(bytes) => match Command::decode(bytes) {
            Ok(decoded) => command(&decoded),
            Err(error) => error.to_string(),
        },
    };
    format!("{} {what}", entry.position())
}

fn command(command: &Command) -> String {
    match command {
        Command::Found(_) => "found".to_owned(),
        Command::Register(registration) => format!("register {}", registration.node),
        Command::Unfence(life) => format!("unfence {life}"),
        Command::Fence(life) => format!("fence {life}"),
        Command::CreatePartitions(all) => format!("create {} partitions", all.len()),
        Command::AlterPartition(alter) => {
            format!("alter {} {} to {}", alter.partition, alter.partition_epoch, list(&alter.isr))
        }
        Command::ElectLeader(elect) => {
            format!("elect {} for {} {}", elect.leader, elect.partition, elect.partition_epoch)
        }
        Command::Reassign(reassign) => {
            format!("reassign {} to {}", reassign.partition, list(&reassign.replicas))
        }
        Command::AcceptLoss(partition) => format!("accept loss of {partition}"),
        Command::Unregister(node) => format!("unregister {node}"),
        Command::SetFeature(level) => format!("feature level {level}"),
    }
}

fn list<T: std::fmt::Display>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("[{}]", all.join(" "))
}
