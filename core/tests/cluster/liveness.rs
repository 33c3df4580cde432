//! Whatever happens, it comes to rest with every node active and every partition led, once the nodes
//! are back and hear each other: nothing is waited for that nobody sends again.

use std::time::Duration;

use kvnode_core::cluster::broker::{self, State};
use kvnode_core::cluster::controller::Settings;
use kvnode_core::{DirectoryId, NodeId};
use proptest::prelude::*;

use crate::world::{World, id_of};

#[derive(Clone, Copy, Debug)]
enum Event {
    Run(u64),
    Cut(u32),
    Heal(u32),
    Kill(u32, bool),
    Start(u32),
    Office(u32),
    Hold,
    Lose,
    Release,
    Stop(u32),
    Dies(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 1u32..5;
    prop_oneof![
        4 => (1u64..2500).prop_map(Event::Run),
        1 => node().prop_map(Event::Cut),
        1 => node().prop_map(Event::Heal),
        1 => (node(), any::<bool>()).prop_map(|(node, loses)| Event::Kill(node, loses)),
        2 => node().prop_map(Event::Start),
        1 => node().prop_map(Event::Office),
        1 => Just(Event::Hold),
        1 => Just(Event::Lose),
        2 => Just(Event::Release),
        1 => node().prop_map(Event::Stop),
        1 => node().prop_map(Event::Dies),
    ]
}

struct Cluster {
    world: World,
    seed: u64,
    /// Nodes that lost something since they last registered.
    unclean: [bool; 5],
}

impl Cluster {
    fn take_office(&mut self, node: u32) {
        self.world.office = NodeId(node);
        let settings = Settings::new(self.world.founding.clone());
        self.world.take_office(settings);
    }

    fn start(&mut self, node: u32) {
        let name = format!("n{node}");
        if self.world.processes.contains_key(&name) {
            return;
        }
        self.seed += 1;
        let directory = DirectoryId(u128::from(node));
        let mut settings =
            broker::Settings::new(NodeId(node), directory, "p:1".into(), "c:1".into());
        settings.seed = self.seed;
        settings.clean = !self.unclean[node as usize];
        self.world.start(&name, settings);
    }

    fn kill(&mut self, node: u32, loses: bool) {
        if let Some(process) = self.world.processes.remove(&format!("n{node}")) {
            self.unclean[node as usize] = loses || !process.broker.may_mark_clean();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Run(ms) => self.world.run(Duration::from_millis(ms), &[]),
            Event::Cut(node) => {
                self.world.cut.insert(NodeId(node));
            }
            Event::Heal(node) => {
                self.world.cut.remove(&NodeId(node));
                self.world.spread();
            }
            Event::Kill(node, loses) => self.kill(node, loses),
            Event::Start(node) => self.start(node),
            Event::Office(node) => self.take_office(node),
            Event::Hold => self.world.held = true,
            Event::Lose => self.world.proposed.clear(),
            Event::Release => self.world.held = false,
            Event::Stop(node) => {
                let name = format!("n{node}");
                if self.world.processes.contains_key(&name) {
                    self.world.broker(&name, broker::Input::Stop);
                }
            }
            Event::Dies(node) => {
                let node = NodeId(node);
                self.world.control(kvnode_core::cluster::controller::Input::Gone(node));
            }
        }
        self.world.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_comes_to_rest_with_all_nodes_active_and_all_partitions_led(
        events in prop::collection::vec(event(), 1..60),
        office in 1u32..5,
    ) {
        let mut cluster = Cluster { world: World::new(), seed: 1, unclean: [false; 5] };
        cluster.world.founding.partitions = 5;
        cluster.world.founding.expected = (1..5).map(NodeId).collect();
        cluster.take_office(1);
        for event in events {
            cluster.happen(event);
        }

        for node in 1..5 {
            cluster.happen(Event::Heal(node));
            // Whoever was asked to stop is gone; a new process comes in its place.
            cluster.kill(node, false);
            cluster.start(node);
        }
        cluster.happen(Event::Release);
        cluster.take_office(office);
        cluster.world.settle();
        // Open replicas report, as a recovery needs it.
        for _ in 0..20 {
            let map = cluster.world.map.clone();
            let names: Vec<_> = cluster.world.processes.keys().cloned().collect();
            for name in names {
                let held = map.partitions().filter(|(_, p)| p.replicas.contains(&id_of(&name)));
                for (partition, _) in held {
                    let end = kvnode_core::cluster::LogEnd {
                        partition,
                        epoch: Default::default(),
                        end: Default::default(),
                        fit: true,
                    };
                    cluster.world.broker(&name, broker::Input::LogEnd(end));
                }
            }
            cluster.happen(Event::Run(500));
        }
        let world = &cluster.world;
        for (name, process) in &world.processes {
            prop_assert!(
                matches!(process.broker.state(), State::Active(_)),
                "{name} is not active:\n{}", world.said
            );
        }
        prop_assert_eq!(world.map.partitions().count(), 5);
        for (id, partition) in world.map.partitions() {
            prop_assert!(partition.leader.is_some(), "{id} {partition}:\n{}", world.said);
        }
    }
}
