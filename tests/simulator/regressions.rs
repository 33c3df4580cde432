//! Bugs that the simulator has found, by name: seed, plan, and the commit that mended them. Each of
//! these runs failed before.

use kvnode_core::disk::File;
use kvnode_core::{Offset, PartitionId, SegmentId};
use kvnode_sim::plan::{Fault, Harm, Plan, Planned};
use kvnode_sim::run::{Request, run};
use kvnode_sim::settings::Profile;

fn holds(profile: Profile, seed: u64, plan: Option<Plan>) {
    let outcome = run(&Request { plan, ..Request::new(profile, seed) });
    assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
}

/// A stop wanted to seal the active segment while the disk was taken for full: it never ended.
/// Mended by "core: end a stop that finds no room to seal".
#[test]
fn a_stop_soon_after_a_full_disk_never_ended() {
    let file = File::Segment(PartitionId(0), Offset(260), SegmentId(0xd));
    let fault = Fault::Spot { node: 1, file, sector: 0, harm: Harm::Full };
    let stop = Fault::Restart { node: 1, down_ms: 900 };
    let plan = vec![Planned { at_ms: 0, fault }, Planned { at_ms: 5000, fault: stop }];
    holds(Profile::Short, 0, Some(plan));
}

/// A misdirected read hid a reign from an opening, which began one of the same number; once the first
/// could be read again, what the second had acknowledged seemed to be of the past, and was cut away.
/// Mended by "core: begin a reign after all that damage may hide".
#[test]
fn a_reign_that_damage_had_hidden_began_again() {
    holds(Profile::Standard, 2341, None);
}

/// A merge of more than a hundred small segments handed all its deletions to the disk at once.
/// Mended by "bound a merge's segments".
#[test]
fn a_merge_of_many_segments_flooded_the_disk() {
    for seed in [33, 42, 141, 169] {
        holds(Profile::Standard, seed, None);
    }
}
