//! The cluster map and those who keep it, from outside.
//!
//! Each file in `scripts` is a story: what is done, and below the line what came of it, recorded
//! and read by a person. `UPDATE_GOLDENFILES=1 cargo test -p kvnode-core --test cluster` records
//! anew. The commands are in [`script`], the cluster in [`world`].

#[macro_use]
#[path = "../world/scripts.rs"]
mod scripts;

mod liveness;
mod placement;
mod properties;
mod script;
mod world;

scripts! {
    a_change_that_lost_its_race_is_refused
    a_fenced_node_does_not_enter_the_isr
    a_gone_process_is_replaced_in_one_commit
    a_late_claim_of_an_earlier_life_is_refused
    a_leader_that_does_not_open_is_replaced
    a_lost_directory_is_not_taken_for_the_one_that_was_lost
    a_lost_proposal_is_made_again
    a_node_far_off_in_time_is_elected_last
    a_paused_controller_fences_nobody_for_its_own_silence
    a_replica_that_would_rather_not_lead_is_relieved
    a_stop_moves_the_leaderships_away_first
    a_wanted_isr_is_asked_for_until_the_map_has_moved_on
    an_epoch_is_never_used_twice
    features_rise_when_all_nodes_understand
    leaders_go_back_to_where_they_were_placed
    nobody_in_sync_means_offline_until_one_returns
    only_an_operator_elects_out_of_sync
    partitions_are_placed_when_the_nodes_are_there
    replicas_move_without_losing_the_isr
    the_last_in_sync_back_unclean_yields_to_the_longest_log
    the_log_and_snapshots_keep_their_bytes
    the_longest_log_in_sync_leads
    the_map_is_founded_and_nodes_get_lives
    the_refusals_of_two_controllers_are_not_added_up
    the_status_says_what_is_survived
    two_processes_with_one_id_do_not_both_live
    unclean_stops_cost_the_seat
    what_an_ended_life_has_reported_counts_in_no_other
    where_the_last_log_in_sync_is_gone_all_replicas_are_waited_for
    without_a_controller_the_status_says_what_stands_still
}
