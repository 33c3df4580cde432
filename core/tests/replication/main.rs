//! Replication of one partition: golden stories, the exact effects of each rule, and random schedules.
//!
//! Each file in `scripts` is a story: what is done, and below the line what came of it, recorded and
//! read by a person. `UPDATE_GOLDENFILES=1 cargo test -p kvnode-core --test replication` records anew.
//! The commands are in [`script`], the replicas in [`world`].
#![allow(clippy::unwrap_used, reason = "a test may fail at what it does not expect")]

#[macro_use]
#[path = "../world/scripts.rs"]
mod scripts;

mod effects;
mod random;
mod replica;
mod script;
mod world;

scripts! {
    a_broken_copy_goes_on_where_it_was
    a_confirmed_read_waits_for_all_in_sync
    a_lease_lasts_as_long_as_the_promises
    a_promise_is_waited_out
    a_refused_proposal_is_counted_until_the_map_proves_it_void
    a_reign_that_begins_with_too_few_lets_others_in
    alone_in_sync_needs_no_one
    an_operators_word_costs_what_was_committed
    below_min_isr_nothing_is_committed
    below_the_tombstones_it_begins_from_zero
    followers_follow_and_a_write_commits
    logs_that_part_over_several_epochs_are_cut_in_steps
    who_lags_leaves_and_comes_back
    who_starts_again_waits_out_what_it_may_have_promised
}
