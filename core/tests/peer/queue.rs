//! Back-pressure: what may wait to be sent.

use bytes::Bytes;
use kvnode_core::NodeId;
use kvnode_core::limits::{
    PEER_BULK_QUEUE_BYTES_MAX, PEER_BULK_QUEUE_FRAMES_MAX, PEER_CONTROL_QUEUE_FRAMES_MAX,
    PEER_DATA_BYTES_MAX,
};
use kvnode_core::peer::frame::Channel;
use kvnode_core::peer::{Input, SendError};

use crate::bench::{Bench, D1};

const HEAD: usize = 11;

fn send(bench: &mut Bench, channel: Channel, length: usize) -> Result<(), SendError> {
    bench.links.send(bench.now, NodeId(2), channel, Bytes::from(vec![0; length]))
}

#[test]
fn nothing_is_queued_while_the_link_is_down() {
    let mut bench = Bench::new();
    assert_eq!(send(&mut bench, Channel::Control, 1), Err(SendError::Down));
    bench.greet();
    assert_eq!(send(&mut bench, Channel::Control, 1), Err(SendError::Down));
    let nobody = bench.links.send(bench.now, NodeId(9), Channel::Control, Bytes::new());
    assert_eq!(nobody, Err(SendError::Down));
    assert!(bench.effects().is_empty());
}

#[test]
fn a_message_leaves_as_one_frame() {
    let mut bench = Bench::up();
    bench.links.send(bench.now, NodeId(2), Channel::Forward, "hi".into()).unwrap();
    assert_eq!(bench.effects(), ["write d1 forward hi"]);
}

#[test]
fn the_queue_is_full_at_its_bytes_and_has_room_when_a_frame_has_left_as_a_whole() {
    let mut bench = Bench::up();
    let length = PEER_BULK_QUEUE_BYTES_MAX / 4 - HEAD;
    for _ in 0..4 {
        assert_eq!(send(&mut bench, Channel::Data, length), Ok(()));
    }
    assert_eq!(send(&mut bench, Channel::Data, 0), Err(SendError::Full));
    assert_eq!(send(&mut bench, Channel::Forward, 0), Ok(()), "records do not shut it out");
    bench.input(Input::Sent(D1, length + HEAD - 1));
    assert_eq!(send(&mut bench, Channel::Data, 0), Err(SendError::Full));
    bench.input(Input::Sent(D1, 1));
    assert_eq!(send(&mut bench, Channel::Data, length), Ok(()));
    assert_eq!(send(&mut bench, Channel::Data, 0), Err(SendError::Full));
}

#[test]
fn the_queue_is_full_at_its_frames() {
    let mut bench = Bench::up();
    for _ in 0..PEER_BULK_QUEUE_FRAMES_MAX {
        assert_eq!(send(&mut bench, Channel::Data, 1), Ok(()));
    }
    assert_eq!(send(&mut bench, Channel::Data, 1), Err(SendError::Full));
    for _ in 0..PEER_CONTROL_QUEUE_FRAMES_MAX {
        assert_eq!(send(&mut bench, Channel::Control, 1), Ok(()), "records do not shut it out");
    }
    assert_eq!(send(&mut bench, Channel::Control, 1), Err(SendError::Full));
    bench.input(Input::Sent(D1, HEAD + 1));
    assert_eq!(send(&mut bench, Channel::Data, 1), Ok(()));
    assert_eq!(send(&mut bench, Channel::Control, 1), Err(SendError::Full));
}

/// Short ones that come all the time do not shut it out.
#[test]
fn a_frame_longer_than_the_queue_goes_when_any_does() {
    let mut bench = Bench::up();
    assert_eq!(send(&mut bench, Channel::Data, 1), Ok(()));
    assert_eq!(send(&mut bench, Channel::Data, PEER_DATA_BYTES_MAX), Ok(()));
    assert_eq!(send(&mut bench, Channel::Data, 1), Err(SendError::Full));
    bench.input(Input::Sent(D1, HEAD + 1));
    assert_eq!(send(&mut bench, Channel::Data, 1), Err(SendError::Full));
    bench.input(Input::Sent(D1, HEAD + PEER_DATA_BYTES_MAX));
    assert_eq!(send(&mut bench, Channel::Data, 1), Ok(()));
}

#[test]
fn a_break_empties_the_queue() {
    let mut bench = Bench::up();
    while send(&mut bench, Channel::Control, 1).is_ok() {}
    bench.input(Input::Closed(D1));
    assert!(bench.input(Input::Sent(D1, 10)).is_empty(), "a late report is ignored");
    assert_eq!(send(&mut bench, Channel::Control, 1), Err(SendError::Down));
    assert_eq!(bench.links.status().next().unwrap().waiting.frames, 0);
}

#[test]
#[should_panic(expected = "the channel is the link's own")]
fn the_owner_has_no_business_on_the_links_channel() {
    let _: Result<(), SendError> = send(&mut Bench::up(), Channel::Link, 1);
}
