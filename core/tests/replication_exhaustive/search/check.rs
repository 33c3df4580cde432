//! What must hold in every state.

use super::*;

impl Search {
    /// Holds the state against what must always be so; none if it is out of bounds.
    pub(super) fn check(
        &mut self,
        before: &World,
        mut world: World,
    ) -> Result<Option<World>, String> {
        for at in 0..world.nodes.len() {
            if world.nodes[at] != before.nodes[at] {
                self.check_committed(&mut world, at)?;
                self.check_matching(&world, at)?;
            }
        }
        self.check_in_sync(&world)?;
        self.check_read(&mut world)?;
        let too_long = |&node: &u32| self.nodes.get(node).rounds() > ROUNDS_MAX;
        if world.nodes.iter().any(too_long) {
            return Ok(None);
        }
        let dead = |&letter: &u32| {
            let (_, to, envelope) = self.letters.get(letter);
            let node = self.nodes.get(world.nodes[to.0 as usize - 1]);
            match &node.replica.role {
                Role::Leader(epoch, _) | Role::Follower(epoch, ..) => envelope.epoch < *epoch,
                Role::None => false,
            }
        };
        let network = world.network.iter().copied().filter(|letter| !dead(letter)).collect();
        world.network = network;
        Ok((world.network.len() <= self.bounds.messages).then_some(world))
    }

    /// What is before a watermark is what was committed, or goes on where that ends.
    fn check_committed(&mut self, world: &mut World, at: usize) -> Result<(), String> {
        let node = &self.nodes.get(world.nodes[at]).replica;
        let committed = self.committed.get(world.committed);
        let known = &node.log[..node.watermark];
        let both = known.len().min(committed.len());
        if known[..both] != committed[..both] {
            return Err(format!("{} holds committed what is not what was committed", node.id()));
        }
        if known.len() > committed.len() {
            if let Role::Leader(_, machine) = &node.role
                && machine.writable().is_err()
            {
                return Err(format!("{} commits with too few in sync", node.id()));
            }
            let epoch = node.leads().unwrap_or_default();
            self.sights.insert(match epoch.0 {
                0 => return Err(format!("{} knows committed what nobody committed", node.id())),
                1 => "a commit in the first reign",
                2 => "a commit in the second reign",
                _ => "a commit in a later reign",
            });
            world.committed = self.committed.number(known.to_vec());
        }
        Ok(())
    }

    /// Two logs with a record of one offset and epoch are the same up to there.
    fn check_matching(&mut self, world: &World, at: usize) -> Result<(), String> {
        let number = world.nodes[at];
        for &other in &world.nodes {
            let pair = (number.min(other), number.max(other));
            let nodes = &self.nodes;
            let matches = *self.matching.entry(pair).or_insert_with(|| {
                logs_match(&nodes.get(pair.0).replica.log, &nodes.get(pair.1).replica.log)
            });
            if !matches {
                return Err("two logs have a record of one reign and differ up to it".into());
            }
        }
        Ok(())
    }

    /// Whoever is in sync, the leader too, holds durably what was committed.
    fn check_in_sync(&mut self, world: &World) -> Result<(), String> {
        let committed = self.committed.get(world.committed);
        let entry = self.maps.get(world.map).partition(P).expect("it is placed");
        for seat in &entry.isr {
            let node = seat.life.node;
            let replica = &self.nodes.get(world.nodes[node.0 as usize - 1]).replica;
            let held = &replica.log[..replica.durable];
            if !held.starts_with(committed) {
                return Err(format!("{node} is in sync without what was committed"));
            }
        }
        Ok(())
    }

    fn check_read(&mut self, world: &mut World) -> Result<(), String> {
        let Some(read) = world.read else { return Ok(()) };
        let node = &self.nodes.get(world.nodes[read.at]).replica;
        if node.leads() != Some(read.epoch) {
            world.read = None;
        } else if node.is_confirmed(read.epoch, read.beat) {
            if read.missed {
                return Err("a confirmed read misses what was committed before it".into());
            }
            self.sights.insert("a confirmed read");
            world.read = None;
        }
        Ok(())
    }
}

fn logs_match(a: &[Record], b: &[Record]) -> bool {
    let both = a.len().min(b.len());
    let last = (0..both).rev().find(|&at| a[at].0 == b[at].0);
    last.is_none_or(|last| a[..=last] == b[..=last])
}
