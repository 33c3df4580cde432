//! WAIT and WAITAOF: how many replicas have what the client wrote. Whoever evaluates the command
//! counts, and waits; here is what is asked.

use super::number::{integer, parse};
use super::{Session, Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;
use crate::shard::FsyncMode;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The leader must have made it durable: of WAITAOF, which tells of that as well.
    pub local: Option<bool>,
    /// So many other replicas must have it.
    pub replicas: i64,
    /// For how long it waits, in milliseconds; zero: without end.
    pub timeout_ms: u64,
    /// The other replicas make durable what they acknowledge.
    pub fsynced: bool,
}

/// Who has what a client wrote, wherever that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    /// Its leader has made it durable.
    pub local: bool,
    /// So many other replicas have acknowledged it.
    pub replicas: usize,
    /// It is not in the log of who leads, or nobody knows whether it is: to wait is in vain.
    pub lost: bool,
}

pub(super) fn wait(
    args: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let replicas = integer(args[1])?;
    let timeout_ms = timeout(args[2], txn)?;
    let fsynced = txn.view().fsync() == FsyncMode::Always;
    answer(Acks { local: None, replicas, timeout_ms, fsynced }, session, txn)
}

pub(super) fn waitaof(
    args: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let local = match integer(args[1])? {
        0 => false,
        1 => true,
        _ => return Err(Stop::error("ERR value is out of range, value must between 0 and 1")),
    };
    let replicas = parse(args[2]).filter(|&n| n >= 0);
    let replicas = replicas.ok_or(Stop::error("ERR value is out of range, must be positive"))?;
    let timeout_ms = timeout(args[3], txn)?;
    let mode = txn.view().fsync();
    match mode {
        FsyncMode::Never if local => {
            return Err(Stop::error(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ));
        }
        FsyncMode::EveryMs(_) | FsyncMode::Never if replicas > 0 => {
            return Err(Stop::error(
                "ERR WAITAOF numreplicas needs --fsync always: in other modes a replica tells \
                 what it has written, not what is durable; use WAIT, or a numreplicas of 0",
            ));
        }
        FsyncMode::Always | FsyncMode::EveryMs(_) | FsyncMode::Never => {}
    }
    let fsynced = mode == FsyncMode::Always;
    answer(Acks { local: Some(local), replicas, timeout_ms, fsynced }, session, txn)
}

/// Within EXEC nobody waits: what is so now is told.
fn answer(wants: Acks, session: &Session, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    if session.executes() {
        return Ok(wants.reply(txn.view().acked()));
    }
    Err(Stop::Acks(wants))
}

/// Redis adds it to its clock, and refuses what is too much for that.
fn timeout(text: &[u8], txn: &mut Txn<'_>) -> Result<u64, Stop> {
    let Some(ms) = parse(text) else {
        return Err(Stop::error("ERR timeout is not an integer or out of range"));
    };
    let Ok(ms) = u64::try_from(ms) else { return Err(Stop::error("ERR timeout is negative")) };
    let now = i64::try_from(txn.now_ms()).unwrap_or(i64::MAX);
    if ms > i64::MAX.abs_diff(now) {
        return Err(Stop::error("ERR timeout is out of range"));
    }
    Ok(ms)
}

impl Acks {
    /// Whether there is nothing to wait for.
    pub fn are_met(&self, acked: Acked) -> bool {
        if acked.lost {
            return true;
        }
        let local = acked.local || self.local != Some(true);
        local && usize::try_from(self.replicas).map_or(self.replicas < 0, |n| acked.replicas >= n)
    }

    /// The answer, enough or not. WAITAOF counts none that have merely written.
    pub fn reply(&self, acked: Acked) -> Reply {
        let count = |n: usize| Reply::Int(i64::try_from(n).unwrap_or(i64::MAX));
        match self.local {
            None => count(acked.replicas),
            Some(_) => {
                let replicas = if self.fsynced { acked.replicas } else { 0 };
                Reply::Array([Reply::Int(i64::from(acked.local)), count(replicas)].into())
            }
        }
    }
}
