//! Commands whose partition another node leads: forwarding, and commands over several partitions.
//!
//! Any node answers any command, unless it is set to send clients away ([`redirect`]). A command is
//! cut into *parts*, one for each partition that it is about; each part is [asked](message::Ask) of
//! the node that leads its partition, be it this one, and the replies are put together again
//! ([`call`]). At the leader a part is run for an [`agent`], a client that stands in for the asker's,
//! so that its WATCH and MULTI live where its keys are.
//!
//! # Order
//!
//! What one client asks of one partition is evaluated in the order in which it was asked, pipelined
//! or not:
//! - an ask names the reign it is meant for, and a leader refuses any other, with nothing evaluated;
//! - until a leader has answered in a reign, a client has one ask under way there, since the node may
//!   yet become leader between two of them; from then on, any number, for a reign that has ended does
//!   not begin again;
//! - a part that is refused *stalls*, and with it its client: nothing more is taken from it until
//!   its stalled parts, in their order, have found a leader;
//! - what one node says to another arrives in its order, or is lost with the link ([`post`]).
//!
//! # What can not be known
//!
//! A part that was asked and not answered when the link breaks, in either direction, may have taken
//! effect. If it only reads, and no later write of its client went the same way, it is asked again; if
//! not, its client is told that the outcome is unknown, and so it is of one that is not answered in
//! [`ANSWER_MAX`]. A part that finds no leader in [`CALL_MAX`] was not applied, and that is said.

mod agent;
mod asks;
mod call;
mod dispatch;
pub mod message;
mod post;
mod redirect;
mod route;
mod split;
pub mod transaction;

use core::time::Duration;

use super::roles::REPORT_EVERY;
use super::waiters::WAIT_MAX;

pub(super) use agent::Agent;
pub(super) use asks::{Abroad, Forwarding, Stalled};
pub(super) use call::Call;
pub(super) use route::Homes;
pub(super) use transaction::Watching;

/// How long a command looks for a leader.
pub(super) const CALL_MAX: Duration = Duration::from_secs(5);

/// How long an answer is waited for.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(6);

// A leader gives up first what it can not commit, and knows best why.
const _: () = assert!(ANSWER_MAX.as_millis() > WAIT_MAX.as_millis() + 2 * REPORT_EVERY.as_millis());

const _: () = assert!(ANSWER_MAX.as_secs() == 6, "COMMANDS.md names it");
