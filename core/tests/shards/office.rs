//! The quorum and its controller as one, outside of all nodes: what is proposed is committed in its order, some
//! time, or is lost.

use std::collections::VecDeque;
use std::time::Duration;

use kvnode_core::cluster::controller::{self, Controller};
use kvnode_core::cluster::{
    BrokerMessage, Changes, Command, ControllerMessage, Founding, Map, Refusal,
};
use kvnode_core::{ClusterId, NodeId, Now, PartitionId};

pub(crate) const P: PartitionId = PartitionId(0);
pub(crate) const CLUSTER: ClusterId = ClusterId(7);

pub(crate) struct Office {
    settings: controller::Settings,
    controller: Controller,
    pub(crate) map: Map,
    pub(crate) log: Vec<Command>,
    pub(crate) proposed: VecDeque<Command>,
    pub(crate) letters: VecDeque<(NodeId, BrokerMessage)>,
    pub(crate) answers: VecDeque<(NodeId, ControllerMessage)>,
}

impl Office {
    pub(crate) fn new(now: Now, min_isr: u32) -> Self {
        let founding = Founding {
            cluster: CLUSTER,
            level: 1,
            partitions: 1,
            replication_factor: 3,
            min_isr,
            expected: [1, 2, 3].map(NodeId).into(),
        };
        let settings = controller::Settings {
            session_timeout: Duration::from_millis(150),
            recovery_wait: Duration::from_secs(2),
            proposal_timeout: Duration::from_millis(100),
            ..controller::Settings::new(founding)
        };
        let map = Map::new();
        let controller = Controller::new(now, &map, settings.clone());
        let (log, proposed) = (Vec::new(), VecDeque::new());
        let (letters, answers) = (VecDeque::new(), VecDeque::new());
        let mut office = Self { settings, controller, map, log, proposed, letters, answers };
        office.drain();
        office
    }

    /// Another controller takes over: what the old one had heard and proposed is gone, or is not.
    pub(crate) fn succeed(&mut self, now: Now, keeps: bool) {
        if !keeps {
            self.proposed.clear();
        }
        self.letters.clear();
        self.answers.clear();
        self.controller = Controller::new(now, &self.map, self.settings.clone());
        self.drain();
    }

    pub(crate) fn handle(&mut self, now: Now, input: controller::Input<'_>) {
        self.controller.handle(now, &self.map, input);
        self.drain();
    }

    pub(crate) fn tick(&mut self, now: Now) {
        if self.controller.deadline().is_some_and(|(at, _)| at <= now.mono) {
            self.handle(now, controller::Input::Tick);
        }
    }

    /// The oldest letter is read.
    pub(crate) fn read(&mut self, now: Now) {
        if let Some((from, message)) = self.letters.pop_front() {
            self.handle(now, controller::Input::Message(from, message));
        }
    }

    /// The oldest proposal is committed. What came of it, if there was one.
    pub(crate) fn commit(&mut self, now: Now) -> Option<(Command, Result<Changes, Refusal>)> {
        let command = self.proposed.pop_front()?;
        let outcome = self.map.apply(self.map.applied().plus(1), &command);
        self.log.push(command.clone());
        self.handle(now, controller::Input::Applied(&command, &outcome));
        Some((command, outcome))
    }

    fn drain(&mut self) {
        while let Some(output) = self.controller.poll() {
            match output {
                controller::Output::Propose(command) => self.proposed.push_back(command),
                controller::Output::Answer(to, answer) => self.answers.push_back((to, answer)),
                controller::Output::Reply(..)
                | controller::Output::Ignored(..)
                | controller::Output::Notice(..) => {}
            }
        }
    }
}
