//! How traces and scripts print commands and the map's entries.

use core::fmt;

use super::command::{AlterPartition, Command, ElectLeader, Reassign, Right};
use super::words::{Cause, Doubt, Node, Partition, Seat, Standing};

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(founding) => write!(
                f,
                "found partitions {} replicas {} min-ISR {}",
                founding.partitions, founding.replication_factor, founding.min_isr
            ),
            Self::Register(r) => {
                write!(f, "register {} {}", r.node, if r.clean { "clean" } else { "unclean" })
            }
            Self::Unfence(life) => write!(f, "unfence {life}"),
            Self::Fence(life) => write!(f, "fence {life}"),
            Self::CreatePartitions(assignments) => {
                write!(f, "create")?;
                for replicas in assignments {
                    write!(f, " [{}]", Spaced(replicas))?;
                }
                Ok(())
            }
            Self::AlterPartition(alter) => write!(f, "{alter}"),
            Self::ElectLeader(elect) => write!(f, "{elect}"),
            Self::Reassign(Reassign { partition, partition_epoch, replicas }) => {
                write!(f, "reassign {partition} {partition_epoch} to {}", Spaced(replicas))
            }
            Self::AcceptLoss(partition) => write!(f, "accept-loss {partition}"),
            Self::Unregister(node) => write!(f, "unregister {node}"),
            Self::SetFeature(level) => write!(f, "feature level {level}"),
        }
    }
}

impl fmt::Display for AlterPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, leader, epoch, partition_epoch, isr } = self;
        write!(f, "alter {partition} {partition_epoch} by {leader} in {epoch} isr {}", Spaced(isr))
    }
}

impl fmt::Display for ElectLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, leader, partition_epoch, above, right } = self;
        let right = match right {
            Right::InSync => "in sync",
            Right::Renewal => "in sync, in another reign",
            Right::LongestLog => "longest log",
            Right::Operator => "operator's word",
        };
        write!(f, "elect {partition} {partition_epoch} {leader} above {above}, {right}")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match self.standing {
            Standing::Active => "active",
            Standing::Fenced => "fenced",
        };
        write!(f, "{} {standing}", self.life())
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.life, if self.whole { "" } else { "(not whole)" })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.epoch, self.partition_epoch)?;
        match self.leader {
            Some(leader) => write!(f, "led by {leader}")?,
            None => write!(f, "no leader")?,
        }
        write!(f, ", isr {}", Spaced(&self.isr))?;
        if self.last_isr.len() != self.isr.len() {
            write!(f, " of {}", Spaced(&self.last_isr))?;
        }
        write!(f, ", replicas {}", Spaced(&self.replicas))?;
        if let Some(Doubt { epoch, cause }) = self.doubt {
            let cause = match cause {
                Cause::Operator => "operator's word",
                Cause::UncleanStop => "unclean stop",
            };
            write!(f, ", in doubt since {epoch} ({cause})")?;
        }
        Ok(())
    }
}

struct Spaced<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Spaced<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if n > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}
