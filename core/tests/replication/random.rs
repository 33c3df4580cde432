//! Random schedules: whatever happens, the invariants hold, and once all is well again the replicas
//! come to agree.

use kvnode_core::cluster::{Command, Right};
use kvnode_core::replication::{ReadMode, Settings};

use super::replica::{P, ms};
use super::world::{Faults, World};

const SEEDS: u64 = 300;

#[test]
fn whatever_happens_nothing_committed_is_lost() {
    let mut counts = [0usize; 4];
    for seed in 0..SEEDS {
        let world = one(seed);
        let entry = world.map.partition(P).unwrap();
        counts[0] += world.committed().len();
        counts[1] += entry.epoch.0 as usize;
        counts[2] += entry.partition_epoch.0 as usize;
    }
    let [records, reigns, versions, _] = counts;
    assert!(records > SEEDS as usize * 10, "{records} records were committed");
    assert!(reigns > SEEDS as usize * 2, "{reigns} reigns began");
    assert!(versions > SEEDS as usize * 4, "{versions} times the map has changed");
}

fn one(seed: u64) -> World {
    let reads = if seed.is_multiple_of(2) { ReadMode::Lease } else { ReadMode::Confirm };
    let settings = Settings { reads, chunk_bytes: 24, inflight_chunks: 4, ..Settings::default() };
    let nodes = 2 + (seed % 3) as u32;
    let mut world = World::new(nodes, 1 + (seed / 3 % 2) as u32, settings, seed);
    world.run(ms(20));
    world.faults = Faults {
        delay_us: (200, 200 + 400 * (seed % 7)),
        write_us: (100, 100 + 3_000 * (seed % 5)),
        map_us: (500, 500 + 30_000 * (seed % 4)),
        loss_percent: seed % 4,
        copy_percent: seed % 3,
    };
    for _ in 0..120 {
        let id = 1 + (world.draw() % u64::from(nodes)) as u32;
        act(&mut world, id);
        let pause = world.draw() % 60;
        world.run(ms(pause));
    }
    settle(&mut world);
    world
}

fn act(world: &mut World, id: u32) {
    let nodes = world.replicas.len() as u64;
    let life = world.life(id);
    match world.draw() % 100 {
        0..45 => {
            for id in world.replicas.keys().copied().collect::<Vec<_>>() {
                world.write(id);
                world.read(id);
            }
        }
        45..58 => {
            for id in world.replicas.keys().copied().collect::<Vec<_>>() {
                world.read(id);
            }
        }
        58..64 => {
            let other = 1 + (world.draw() % nodes) as u32;
            if other != id {
                world.cut(id, other, true);
            }
        }
        64..68 => world.heal(),
        68..70 => world.crash(id),
        70..72 => {
            let kept = world.draw() % (world.replica(id).log.len() as u64 + 1);
            world.lose(id, kept as usize);
        }
        72..76 => _ = world.command(&Command::Fence(life)),
        76..86 => _ = world.command(&Command::Unfence(life)),
        86..94 => _ = world.elect(id, Right::InSync),
        94..96 => world.stall(id, true),
        96..98 => world.blind(id, true),
        98.. => world.deaf = !world.deaf,
    }
}

/// All is well again: everybody is heard and somebody leads.
fn settle(world: &mut World) {
    world.deaf = false;
    world.faults = Faults::NONE;
    world.heal();
    let ids: Vec<u32> = world.replicas.keys().copied().collect();
    for &id in &ids {
        let life = world.life(id);
        _ = world.command(&Command::Unfence(life));
    }
    for &id in &ids {
        if world.map.partition(P).unwrap().leader.is_none() {
            _ = world.elect(id, Right::InSync);
        }
    }
    world.run(ms(15_000));
    let story = || world.trace[world.trace.len().saturating_sub(60)..].join("\n");
    let leader = world.map.partition(P).unwrap().leader.expect("one in sync is active").0;
    assert!(world.map.partition(P).unwrap().isr.len() == ids.len(), "all are in sync\n{}", story());
    assert_eq!(world.committed(), world.replica(leader).log, "all is committed\n{}", story());
    for &id in &ids {
        assert_eq!(world.replica(id).log, world.replica(leader).log, "logs agree\n{}", story());
        assert_eq!(world.replica(id).watermark, world.replica(leader).watermark, "{}", story());
    }
}
