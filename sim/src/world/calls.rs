//! What clients have called, and what they were told.

use super::*;
use crate::hash_of;

impl World {
    /// A client sends a WATCH.
    pub(crate) fn watch(&self, node: u32, group: Option<Group>) -> Moment {
        let mut record = lock(&self.record);
        let moment = self.moment(&mut record, node, group);
        let partition =
            group.filter(|_| self.is_replicated()).map(|group| self.partition_of(group));
        let is_behind = |p| {
            let watch = lock(&self.watch);
            lock(&self.replicas).is_behind(node, p, watch.map())
        };
        if partition.is_some_and(is_behind) {
            // The node has the keys watched by who does not lead any more: EXEC will be aborted.
            record.order += 1;
            let order = record.order;
            record.history.strikes.push(order);
        }
        moment
    }

    /// A client asks a node; the number of its call.
    pub(crate) fn invoke(
        &self,
        client: u32,
        wire: WireId,
        node: u32,
        action: Action,
        watched_at: Option<Moment>,
    ) -> usize {
        let mut record = lock(&self.record);
        let invoked = self.moment(&mut record, node, group_of(&action));
        record.history.calls.push(Call {
            client,
            session: wire.0,
            action,
            invoked,
            nearby: false,
            watched_at,
            returned: None,
            outcome: Outcome::Unknown("no answer".to_owned()),
            until: None,
        });
        record.lives.push(None);
        record.history.calls.len() - 1
    }

    /// A call may be answered by a replica that is behind.
    pub(crate) fn is_nearby(&self, call: usize) {
        lock(&self.record).history.calls[call].nearby = true;
    }

    /// When a call was invoked, in ns.
    pub(crate) fn invoked_ns(&self, call: usize) -> u64 {
        lock(&self.record).history.calls[call].invoked.at_ns
    }

    /// What a call turned out to have been: steps of a transaction that were refused are left out.
    pub(crate) fn amend(&self, call: usize, action: Action) {
        lock(&self.record).history.calls[call].action = action;
    }

    /// A call has ended. `life`: of the process that it was sent to, if it ever had one.
    pub(crate) fn finish(&self, call: usize, node: u32, life: Option<u64>, outcome: Outcome) {
        let mut record = lock(&self.record);
        let group = group_of(&record.history.calls[call].action);
        let returned = match outcome {
            Outcome::Unknown(_) => None,
            Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Garbage(_) => {
                Some(self.moment(&mut record, node, group))
            }
        };
        record.lives[call] = life;
        let call = &mut record.history.calls[call];
        call.returned = returned;
        call.outcome = outcome;
    }

    /// A node has learnt that a connection is gone: what it had not evaluated by now it never will.
    pub(crate) fn hung_up(&self, wire: WireId) {
        let mut record = lock(&self.record);
        record.order += 1;
        let order = record.order;
        record.hung_up.insert(wire.0, order);
    }

    /// Whether an error that begins with this word, in answer to what was asked then, can be true of
    /// this life of a node: whoever says that its disk fails it needs a disk that has.
    pub(crate) fn is_credible(&self, id: u32, life: u64, since_ns: u64, word: &str) -> bool {
        let (failed, full) = lock(&self.record).troubles.get(&life).copied().unwrap_or_default();
        let present = self.node(id, |node| node.view.life == life);
        if self.is_replicated() {
            // The node that answers may be another than the one that was asked.
            let was_full = || lock(&self.record).troubles.values().any(|(_, full)| *full);
            return word != "DISKFULL" || was_full();
        }
        match word {
            "DISKFULL" => full,
            "DOWN" | "UNKNOWN" | "PARTIAL" => failed,
            "LOADING" => {
                let absent = self.node(id, |node| {
                    !node.serves || node.serves_since_ns > since_ns || node.stopping
                });
                failed || !present || absent
            }
            _ => true,
        }
    }

    /// A node has been asked to stop.
    pub(crate) fn stopping(&self, id: u32) {
        self.node(id, |node| node.stopping = true);
    }

    /// A client has waited for an answer since then, and gives up. That is a violation unless the node
    /// was down, or a fault that lasts was in the way, at some time of it. A fault that strikes is no
    /// excuse: the node is to say so.
    pub(crate) fn gave_up(&self, client: u32, id: u32, since_ns: u64, call: &str) {
        let (up, up_since_ns) = self.node(id, |node| (node.up, node.up_since_ns));
        let down = !up || up_since_ns > since_ns || self.is_replicated();
        let slow_ns = self.settings.pace.max_ns;
        if !down && !lock(&self.windows).excuse(client, id, since_ns, slow_ns) {
            let seconds = (self.now_ns() - since_ns) as f64 / 1e9;
            let text = format!("c{client} has waited {seconds} s for an answer to {call}");
            self.violation("waited in vain", text);
        }
    }

    /// The history, and who could still do something about what when.
    pub(crate) fn take_history(&self) -> History {
        let mut record = lock(&self.record);
        let mut history = std::mem::take(&mut record.history);
        // What one node has logged another may commit whenever it leads.
        let calls = history.calls.iter_mut().filter(|_| !self.is_replicated());
        for (call, life) in calls.zip(&record.lives) {
            if matches!(call.outcome, Outcome::Unknown(_)) {
                let died = life.and_then(|life| record.ends.get(&life));
                let hung_up = record.hung_up.get(&call.session);
                call.until = died.into_iter().chain(hung_up).min().copied();
            }
        }
        history
    }

    /// What each key was read as by the latest of the calls from this one on.
    pub(crate) fn read_since(&self, call: usize) -> BTreeMap<Key, Option<Val>> {
        let record = lock(&self.record);
        let reads = record.history.calls[call..].iter().filter_map(|call| {
            let Action::Get(key) = &call.action else { return None };
            match &call.outcome {
                Outcome::Answered(Answer::Val(val)) => Some((*key, Some(val.clone()))),
                Outcome::Answered(Answer::Nil) => Some((*key, None)),
                Outcome::Answered(_)
                | Outcome::Refused(_)
                | Outcome::Unknown(_)
                | Outcome::Garbage(_) => None,
            }
        });
        reads.collect()
    }

    /// A client that has written this and was told that it is done is told of so many replicas besides the
    /// leader that have it, and whether it is durable there.
    pub(crate) fn told_acked(&self, (key, val): (&Key, &Val), replicas: i64, local: bool) {
        let partition = self.partition_of(key.group);
        let key = hash_of(key.to_string().as_bytes());
        let written = (partition, key, hash_of(&val.encode()[..]));
        let found = lock(&self.replicas).told(written, replicas, local);
        self.found(found);
    }

    /// What comes next in the sequence of the run is behind this.
    pub(crate) fn order(&self) -> Order {
        lock(&self.record).order
    }

    /// Whoever served the partition before a loss serves it no more.
    pub(crate) fn has_lost(&self, partition: PartitionId) {
        let mut record = lock(&self.record);
        record.order += 1;
        let order = record.order;
        let is_due = |loss: &&mut Loss| {
            let group = loss.groups.as_ref().and_then(|groups| groups.first());
            loss.to == Order::MAX && group.is_some_and(|g| self.partition_of(*g) == partition)
        };
        record.history.losses.iter_mut().filter(is_due).for_each(|loss| loss.to = order);
    }

    /// What was committed in the partition is lost, but for what was so at `kept`: from now on until the next
    /// leader serves, for the one before may show it that long.
    pub(crate) fn lose(&self, partition: PartitionId, kept: Order) {
        // The probe has a group of its own.
        let groups = (0..=self.settings.groups).map(Group);
        let groups: Vec<Group> = groups.filter(|&g| self.partition_of(g) == partition).collect();
        let mut record = lock(&self.record);
        record.order += 1;
        let (from, to) = (record.order, Order::MAX);
        let is_lost = |call: &&mut Call| {
            call.returned.is_none()
                && group_of(&call.action).is_none_or(|group| groups.contains(&group))
        };
        // The clock of who leads now may be behind that of those who led.
        let under_way = record.history.calls.iter_mut().filter(is_lost);
        under_way.for_each(|call| call.invoked.clock.committed_ms = 0);
        let left = Left::Prefix(kept);
        record.history.losses.push(Loss { groups: Some(groups), from, to, left });
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        lock(&self.record).history.calls.len()
    }

    pub(crate) fn note_written(&self, written: BTreeSet<(File, u32)>) {
        lock(&self.record).written = written;
    }

    pub(crate) fn take_written(&self) -> BTreeSet<(File, u32)> {
        std::mem::take(&mut lock(&self.record).written)
    }

    // Judgement.
}
