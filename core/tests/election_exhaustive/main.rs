//! Every state of a few members within bounds, on the real machine.
#![allow(clippy::unwrap_used, reason = "a test may fail at what it does not expect")]

mod node;
mod search;

use std::time::Instant;

use search::{Bounds, Found, search};

fn bounds() -> Bounds {
    Bounds {
        nodes: 3,
        voters: 3,
        start: Vec::new(),
        terms: 2,
        messages: 2,
        proposals: 0,
        crashes: 0,
        copies: 0,
        transfers: 0,
        compactions: 0,
        changes: Vec::new(),
        states_max: 20_000_000,
    }
}

fn run(name: &str, bounds: Bounds) -> Found {
    let start = Instant::now();
    let found = search(bounds.clone());
    println!(
        "{name}: {} states, {} transitions, {} of a member, depth {}, {:.1} s, complete {}; {:?}",
        found.states,
        found.transitions,
        found.node_states,
        found.depth,
        start.elapsed().as_secs_f64(),
        found.complete,
        found.sights,
    );
    if let Some((why, way)) = &found.violation {
        panic!("{name}: {why}\n  {}", way.join("\n  "));
    }
    found
}

#[test]
fn probe_sizes() {
    let spec = std::env::var("KVNODE_BOUNDS").unwrap_or_default();
    let mut b = bounds();
    for part in spec.split(',').filter(|p| !p.is_empty()) {
        let (k, v) = part.split_once('=').unwrap();
        let v: u64 = v.parse().unwrap();
        match k {
            "start" if v == 8 => {
                b.start = vec![(2, 1, vec![1, 2]), (3, 3, vec![1]), (3, 3, vec![1, 3])]
            }
            "start" if v == 2 => {
                b.start = vec![(2, 1, vec![1, 1]), (3, 3, vec![1]), (3, 3, vec![1, 3])]
            }
            "nodes" => b.nodes = v as u32,
            "terms" => b.terms = v,
            "messages" => b.messages = v as usize,
            "proposals" => b.proposals = v as u8,
            "crashes" => b.crashes = v as u8,
            "copies" => b.copies = v as u8,
            "transfers" => b.transfers = v as u8,
            "compactions" => b.compactions = v as u8,
            "max" => b.states_max = v as usize,
            _ => panic!(),
        }
    }
    run(&spec, b);
}
