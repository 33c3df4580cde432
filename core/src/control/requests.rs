//! What operators ask of the controller by way of this node, whichever node controls.
//!
//! ```text
//!   client ─▶ shard ─▶ control ──── Ask ────▶ control ─▶ controller ─▶ the quorum's log
//!                         ▲                      │
//!                         └─────── Answer ───────┘ applied, refused, or unknown
//! ```
//!
//! A request is held until a controller is reached, and handed over once. From then on only an
//! answer tells what became of it: it is not handed to another controller, since the first may have
//! had it committed. So it ends in one of three ways, and soon:
//! - answered by the controller, whose requests are all answered: when applied, refused, given up
//!   after a while, or when it leaves office;
//! - *unknown*, when the link or the process of the controller breaks, or nothing comes in time;
//! - *nothing was changed*, when nobody who said to be the controller was reached in time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::message::{Answer, Ask};
use super::{Control, Message, Output, Stage};
use crate::cluster::controller::{Request, RequestError, RequestId};
use crate::limits::OPERATOR_REQUESTS_MAX;
use crate::marks::Mark;
use crate::node::ToShard;
use crate::{ClientId, Instant, NodeId};

/// What an operator is told.
type Outcome = Result<(), RequestError>;

/// The requests of this node's clients, by number.
#[derive(Debug, Default)]
pub(super) struct Requests(BTreeMap<u64, Pending>);

#[derive(Debug)]
struct Pending {
    client: ClientId,
    request: Request,
    /// When the client is told what is known then.
    until: Instant,
    /// Who was asked; nobody was before.
    asked: Option<NodeId>,
    /// When a controller is looked for again.
    again: Instant,
}

/// How long a client waits, at most: longer than a controller waits for a commit, and than it takes
/// to elect one.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a controller is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Requests {
    /// When to go on.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = |p: &Pending| if p.asked.is_some() { p.until } else { p.until.min(p.again) };
        self.0.values().map(due).min()
    }

    /// Ends those of which it is so.
    fn end(&mut self, is_over: impl Fn(&Pending) -> bool) -> Vec<(ClientId, Outcome)> {
        let over = self.0.extract_if(.., |_, pending| is_over(pending));
        let outcome = |p: &Pending| match p.asked {
            Some(_) => RequestError::Unknown,
            None => RequestError::NoController,
        };
        over.map(|(_, pending)| (pending.client, Err(outcome(&pending)))).collect()
    }
}

impl Control {
    /// A client of this node asks for something.
    pub(super) fn on_request(&mut self, client: ClientId, request: Request) {
        if self.requests.0.len() >= OPERATOR_REQUESTS_MAX {
            return self.tell([(client, Err(RequestError::TooMany))]);
        }
        let now = self.now.mono;
        let until = now.after(WAIT_MAX);
        // Drawn, so that an answer to an earlier process of this node is taken for none.
        let number = self.random.next();
        self.requests.0.insert(number, Pending { client, request, until, asked: None, again: now });
    }

    /// Another node hands a request over.
    pub(super) fn on_ask(&mut self, from: NodeId, ask: Ask) {
        let Ask { number, request } = ask;
        let id = RequestId { asker: from, number };
        if !self.ask_here(id, request) {
            self.answer(id, Err(RequestError::NoController));
        }
    }

    /// The controller is done with a request.
    pub(super) fn answer(&mut self, id: RequestId, outcome: Outcome) {
        let RequestId { asker, number } = id;
        if asker == self.config.node {
            self.on_answer(asker, Answer { number, outcome });
        } else {
            self.send(asker, &Message::Answer(Answer { number, outcome }));
        }
    }

    pub(super) fn on_answer(&mut self, from: NodeId, answer: Answer) {
        let Answer { number, outcome } = answer;
        let Some(pending) = self.requests.0.get_mut(&number) else { return };
        if pending.asked != Some(from) {
            return;
        }
        if outcome == Err(RequestError::NoController) {
            pending.asked = None;
            pending.again = self.now.mono.after(LOOK_EVERY);
            return;
        }
        let client = pending.client;
        self.requests.0.remove(&number);
        self.tell([(client, outcome)]);
    }

    /// What was handed to the node may have been done or not.
    pub(super) fn lose_requests_at(&mut self, node: NodeId) {
        let lost = self.requests.end(|pending| pending.asked == Some(node));
        self.marks.hit_if(!lost.is_empty(), Mark::RequestUnknown);
        self.tell(lost);
    }

    /// Hands over what waits for a controller, and gives up what has waited too long. Returns
    /// whether it did anything.
    pub(super) fn advance_requests(&mut self) -> bool {
        let now = self.now.mono;
        let ended = matches!(self.stage, Stage::Ended);
        let over = self.requests.end(|pending| ended || pending.until <= now);
        let mut busy = !over.is_empty();
        self.tell(over);
        let waits = |p: &Pending| p.asked.is_none() && p.again <= now;
        let waiting = self.requests.0.iter().filter(|(_, pending)| waits(pending));
        for number in waiting.map(|(&number, _)| number).collect::<Vec<_>>() {
            let asked = self.hand_over(number);
            busy |= asked.is_some();
            let pending = self.requests.0.get_mut(&number).expect("it was listed");
            (pending.asked, pending.again) = (asked, now.after(LOOK_EVERY));
        }
        busy
    }

    /// Returns to whom it was handed.
    fn hand_over(&mut self, number: u64) -> Option<NodeId> {
        let controller = self.raft()?.leader()?;
        let request = self.requests.0[&number].request.clone();
        let handed = if controller == self.config.node {
            self.ask_here(RequestId { asker: controller, number }, request)
        } else {
            let sent = self.send(controller, &Message::Ask(Ask { number, request }));
            self.marks.hit_if(sent, Mark::RequestRelayed);
            sent
        };
        handed.then_some(controller)
    }

    /// Returns whether this node is the controller, which answers in any case.
    fn ask_here(&mut self, id: RequestId, request: Request) -> bool {
        let now = self.now;
        match &mut self.stage {
            Stage::Member(member) => member.on_request(now, id, request),
            Stage::Opening
            | Stage::Fresh(_)
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_)
            | Stage::Ended => false,
        }
    }

    fn tell(&mut self, told: impl IntoIterator<Item = (ClientId, Outcome)>) {
        for (client, outcome) in told {
            self.out.push_back(Output::Shard(ToShard::Answered(client, outcome)));
        }
    }
}
