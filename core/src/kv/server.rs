//! Commands about the server.

use alloc::string::String;
use alloc::vec::Vec;

use super::number::Decimal;
use super::{Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;

/// What ROLE reports; filled by the shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The ends of the logs led here, added up.
    pub offset: u64,
    /// Who follows some of them.
    pub replicas: Vec<Replica>,
}

/// A node that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where clients reach it.
    pub host: String,
    /// See above.
    pub port: u16,
    /// [`Role::offset`] less what it does not acknowledge yet.
    pub offset: u64,
}

pub(super) fn time(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let now = txn.view().wall_us();
    let part = |n| Reply::bulk(Decimal::of_unsigned(n).as_bytes());
    Ok(Reply::Array([part(now / 1_000_000), part(now % 1_000_000)].into()))
}

pub(super) fn info(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let info = txn.view().info();
    Ok(Reply::Verbatim(info.text(&args[1..]).into()))
}

/// Always a master's: any node takes writes, those for partitions that others lead too, and that is
/// what a client asks for which wants to write. The offset is that of the partitions led here, added
/// up; a replica's is as much less as it lacks of those that it follows.
pub(super) fn role(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let Role { offset, replicas } = txn.view().role();
    let replica = |replica: Replica| {
        let offset = Decimal::of_unsigned(replica.offset);
        let port = Decimal::of_unsigned(u64::from(replica.port));
        let host = Reply::bulk(replica.host.as_bytes());
        Reply::Array([host, Reply::bulk(port.as_bytes()), Reply::bulk(offset.as_bytes())].into())
    };
    Ok(Reply::Array(
        [
            Reply::bulk(b"master"),
            Reply::Int(i64::try_from(offset).unwrap_or(i64::MAX)),
            Reply::Array(replicas.into_iter().map(replica).collect()),
        ]
        .into(),
    ))
}

/// A container is never evaluated: without a subcommand it has too few arguments.
pub(super) fn container(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    unreachable!("a subcommand has been found instead")
}
