//! Bugs that the simulator has found, by name: seed, plan, and the commit that mended them. Each of
//! these runs failed before.

use kvnode_core::disk::File;
use kvnode_core::{Offset, PartitionId, SegmentId};
use kvnode_sim::plan::{Fault, Harm, Plan, Planned, Trap, text};
use kvnode_sim::run::{Request, run};
use kvnode_sim::settings::Profile;

fn holds(profile: Profile, seed: u64, plan: Option<Plan>) {
    let outcome = run(&Request { plan, ..Request::new(profile, seed) });
    assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
}

/// The plan of a seed of the cluster profile as it was before there were hunts.
fn without_hunts(seed: u64) -> Plan {
    let mut plan = run(&Request::new(Profile::Cluster, seed)).plan;
    plan.retain(|planned| !matches!(planned.fault, Fault::Hunt { .. }));
    plan
}

/// A seed of the replication profile, with the faults that it had before copies were broken off.
fn replicas_hold(seed: u64) {
    let mut plan = run(&Request::new(Profile::Replication, seed)).plan;
    plan.retain(|planned| !matches!(planned.fault, Fault::Hunt { trap: Trap::Break, .. }));
    holds(Profile::Replication, seed, Some(plan));
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

/// A merge of more than a hundred small segments handed all its deletions to the disk at once.
/// Mended by "bound a merge's segments".
#[test]
fn a_merge_of_many_segments_flooded_the_disk() {
    for seed in [33, 42, 141, 169] {
        holds(Profile::Standard, seed, None);
    }
}

/// A segment that could not be read at one opening hid the last reign, which was then given out
/// again: at the next opening its records were taken for a torn tail. Mended by "core: keep the
/// reign in the manifest".
#[test]
fn a_reign_was_given_out_twice_and_its_records_were_cut() {
    for seed in [2341, 5744, 19318] {
        holds(Profile::Standard, seed, None);
    }
}

/// A stop that came while a partition opened said that everything was durable, while what an earlier
/// life had acknowledged without an fsync was not. Mended by "core: let a stop finish the opening".
#[test]
fn a_stop_while_opening_lost_what_an_earlier_life_had_acknowledged() {
    for seed in [7690, 15070] {
        holds(Profile::Standard, seed, None);
    }
}

/// A control log with an unreadable record was read again for ever: its node was no member and did
/// not say why. Mended by "sim: mark the quorum's rare states, forge thirteen bugs into it".
#[test]
fn a_control_log_that_could_not_be_read_was_read_for_ever() {
    holds(Profile::Cluster, 16, Some(without_hunts(16)));
}

/// A follower came back without an entry that it had held in memory only, and its leader took the
/// conflict for an old one, for ever. Mended by "core: send a member again what it had not made
/// durable when it restarted".
#[test]
fn a_follower_that_forgot_what_was_not_durable_never_caught_up() {
    holds(Profile::Cluster, 54, Some(without_hunts(54)));
}

/// A flipped bit in the length of a frame made the receiver wait for megabytes that nobody sent: it
/// took all that came for a part of them, and the link stayed up. Mended by "core: check the head of
/// a frame by itself".
#[test]
fn a_flipped_length_swallowed_everything_behind_it() {
    holds(Profile::Cluster, 266, Some(without_hunts(266)));
}

/// An operator raised the feature level before any node had registered: none understood it, and none
/// was ever taken in again. Mended by "core: raise no feature level that nobody understands".
#[test]
fn a_feature_level_that_nobody_understood_shut_every_node_out() {
    holds(Profile::Cluster, 345, Some(without_hunts(345)));
}

/// A node that was asked to stop while its disk was full looked at no timer any more: the control log
/// never tried again, and the stop never ended. Mended by "core: let a stopping control look after
/// its store's timers".
#[test]
fn a_control_that_stopped_on_a_full_disk_never_ended() {
    holds(Profile::Cluster, 3_000_016, Some(without_hunts(3_000_016)));
}

/// A disk gave the records of another segment of the log for those that were sealed in one: each was
/// sound, and a key that had been written since had an older value. Mended by "core: found over all
/// nodes, name the cluster before a word is said, tell foreign records". And once more, where the header
/// was another's as well, by "core: records under a damaged header are held against their checksum".
#[test]
fn sound_records_of_another_segment_were_believed() {
    for seed in [37, 48_001_221] {
        holds(Profile::Standard, seed, None);
    }
}

/// The same where a segment is read a piece at a time, so that what one piece gives ends within a record:
/// that one's value was damaged, and the checksum of the rest not looked at. Mended by "core: what two
/// reads disagree about condemns its segment".
#[test]
fn sound_records_of_another_segment_were_believed_between_two_reads() {
    holds(Profile::Disk, 49_000_465, None);
}

/// A mistake of the simulator: reads that were to go astray on a disk that was swapped for an empty one
/// went astray on that one, and its node was said to refuse an undamaged disk. Found as seed 12362.
/// Mended by "sim: let what waits to strike go with its disk".
#[test]
fn what_was_to_strike_a_disk_struck_the_one_that_was_put_in_its_place() {
    let plan = "
         3.432 s  misdirected-read n3
         5.804 s  wipe n3, down 12 ms
        26.663 s  power-lost n3, down 77 ms
        34.000 s  power-lost n3, down 77 ms";
    let plan = text::read(plan).expect("these are faults");
    for seed in [12362, 1, 2] {
        holds(Profile::Cluster, seed, Some(plan.clone()));
    }
}

/// A WATCH whose answer failed on the way, since leadership moved, was refused to its client and stood all
/// the same: an EXEC without a WATCH was aborted. Mended by "core: a WATCH that errs watches nothing".
#[test]
fn a_watch_that_was_refused_stood_all_the_same() {
    replicas_hold(50036);
}

/// An operator had a node taken out while the directory of another one was lost: the removal of the
/// first voter left the lost one in every majority, and nobody was elected ever again. Mended by
/// "core: no change of voters that could never be committed".
#[test]
fn a_forgotten_voter_left_a_lost_one_in_every_majority() {
    holds(Profile::Cluster, 1_003_226, None);
}

/// A log of 140 segments began again from zero, and the files of all of them were handed to the disk to
/// be deleted at once. Mended by "core: delete what is left over a few files at a time".
#[test]
fn a_log_of_many_segments_that_began_again_flooded_the_disk() {
    replicas_hold(2500795);
}

/// The log of a follower was cut while reads went astray, and what the opening behind the cut could not
/// read was overlooked: the replica was let into the in-sync set without it. Mended by "core: damage that a
/// cut of the log meets is damage".
#[test]
fn a_replica_whose_log_was_cut_was_let_in_without_what_it_could_not_read() {
    replicas_hold(4_500_442);
}

/// A deposed leader cut its log, and a read failed in the opening behind that: what it had logged before
/// the cut was called refused, though it was in the logs of both replicas and was committed. Mended by
/// "core: what is in a log that is read again is not called refused".
#[test]
fn what_was_before_a_cut_was_called_refused() {
    replicas_hold(4_502_391);
}

/// What stood in a copied log for records that compaction had dropped had the clock of the record behind
/// it, which was never committed and cut off: what the next leader logged there had an earlier clock.
/// Mended by "core: a gap has no later clock than what it stands for".
#[test]
fn the_clock_of_a_log_fell_behind_a_gap() {
    replicas_hold(6_400_079);
}

/// Under a relaxed fsync a leader committed what was logged in an earlier reign, and lost its power with
/// the record by which its own had begun: the log of an earlier leader, which had begun a reign in between
/// and committed nothing, was taken for the longest. Mended by "core: a reign's beginning is durable before
/// anything of it is acknowledged".
#[test]
fn a_log_without_what_was_committed_was_taken_for_the_longest() {
    replicas_hold(2500760);
}

/// A follower's full disk took back what it had been sent, while the link broke and came back: it was due to
/// ask anew and could not before the log was cut, and its thread was called again and again until the disk
/// was done. Mended by "core: a follower that waits for its log waits for no clock".
#[test]
fn a_follower_that_waited_for_its_disk_was_due_without_end() {
    replicas_hold(3_000_080);
}

/// A leader whose first record could not be fsynced began the same reign once more, at another place of its
/// log, since the controller had not heard that it had resigned. Mended by "core: a reign is begun once, and
/// by nobody whose log is gone".
#[test]
fn a_reign_was_begun_twice() {
    replicas_hold(11);
}

/// A controller that had stood still was asked to move a leader; the same had been committed meanwhile, from
/// before it was asked, under another controller, and it took that for the answer. Mended by "core: an
/// operator is answered by what was logged after it asked".
#[test]
fn an_operator_was_answered_by_what_was_logged_before_it_asked() {
    replicas_hold(44_000_823);
}

/// A follower far behind copied as much of a compacted log as a link's queue held, asked for the rest, and had
/// to begin again from zero, for ever. Mended by "core: a copy that was broken off goes on where it had come
/// to". (What came just before that changed the run, too, so that it holds without it; the script
/// `a_broken_copy_goes_on_where_it_was` does not.)
#[test]
fn a_copy_that_was_broken_off_began_again_from_zero_each_time() {
    replicas_hold(51_001_340);
}

/// A segment was sealed before it held anything, and its hint named the reign of what waited to be copied into
/// the next: after a loss of power all of that was taken for torn, since its first records were of earlier
/// reigns.
#[test]
fn a_hint_named_a_later_reign_than_its_segment_holds() {
    replicas_hold(66_000_646);
}

/// Without an fsync for each write, what superseded what a copied log lacks was acknowledged before it was
/// durable: the loss of power that took it took much older values, too.
#[test]
fn a_loss_of_power_took_an_old_value_with_the_new_one() {
    replicas_hold(68_000_301);
}

/// A replica found its log gone, and its disk full before another could take its place: it was in sync with
/// nothing until the disk had room, and could be elected. Mended by "core: a log that is gone is told of
/// when that is found".
#[test]
fn a_replica_whose_log_was_gone_stayed_in_sync_while_its_disk_was_full() {
    for seed in [73_001_009, 73_001_595] {
        holds(Profile::Replication, seed, None);
    }
}

/// A false alarm: a leader that may lack what was committed cut off half a batch, and the beginning of its reign
/// waited for a new segment. The model of its log still had what stood there, and took it for not lost.
#[test]
fn what_a_new_leader_had_cut_off_seemed_to_stay_committed() {
    replicas_hold(80_011_128);
}

/// A leader could not finish a transaction when its reign was over, and took all that the same client would watch
/// there later for lost: where it led again, the next EXEC was aborted without a reason. Mended by "core: a
/// transaction that a leader could not finish leaves nothing watched".
#[test]
fn a_transaction_that_was_broken_off_had_a_later_one_aborted() {
    replicas_hold(82_001_381);
}
