//! A stream, cut and damaged in any way.

use bytes::Bytes;
use kvnode_core::limits::{PEER_CONTROL_BYTES_MAX, PEER_LINK_BYTES_MAX};
use kvnode_core::peer::frame::{Allowed, Channel, Decoder, Frame, FrameError};
use kvnode_core::peer::{Input, Links, Message, Output};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::bench::{A1, Bench, frame, hello, identity, link};

/// The frames of a stream that comes in these pieces, and how it ends.
fn frames(pieces: &[Bytes], allowed: Allowed) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece.clone());
        loop {
            match decoder.next(allowed) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn cut(stream: &[u8], cuts: &[Index]) -> Vec<Bytes> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|at| Bytes::copy_from_slice(&stream[at[0]..at[1]])).collect()
}

fn channel() -> impl Strategy<Value = Channel> {
    prop::sample::select(Channel::ALL.to_vec())
}

fn bodies() -> impl Strategy<Value = Vec<(Channel, Vec<u8>)>> {
    let body = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 3_000..4_000),
    ];
    prop::collection::vec((channel(), body), 0..6)
}

fn stream_of(bodies: &[(Channel, Vec<u8>)]) -> Vec<u8> {
    bodies.iter().flat_map(|(channel, body)| frame(*channel, body)).collect()
}

/// What a machine with an accepted connection makes of a stream that comes in these pieces.
fn effects(pieces: Vec<Bytes>) -> (Vec<Output>, Links) {
    let mut bench = Bench::new();
    bench.input(Input::Accepted(A1));
    for piece in pieces {
        bench.links.handle(bench.now, Input::Bytes(A1, piece));
    }
    (std::iter::from_fn(|| bench.links.poll()).collect(), bench.links)
}

proptest! {
    #[test]
    fn what_is_sent_is_received_however_it_is_cut(
        bodies in bodies(), cuts: Vec<Index>,
    ) {
        let (found, error) = frames(&cut(&stream_of(&bodies), &cuts), Allowed::All);
        let sent: Vec<_> = bodies
            .into_iter()
            .map(|(channel, body)| Frame { channel, body: body.into() })
            .collect();
        prop_assert_eq!((found, error), (sent, None));
    }

    #[test]
    fn any_bytes_give_the_same_frames_and_the_same_error_however_they_are_cut(
        bodies in bodies(), flips: Vec<(Index, u8)>, tail: Vec<u8>, cuts: Vec<Index>, all: bool,
    ) {
        let mut stream = stream_of(&bodies);
        stream.extend(tail);
        for (at, flip) in flips.into_iter().take(stream.len().min(3)) {
            let at = at.index(stream.len());
            stream[at] ^= flip;
        }
        let allowed = if all { Allowed::All } else { Allowed::Link };
        let whole = frames(&[Bytes::copy_from_slice(&stream)], allowed);
        prop_assert_eq!(frames(&cut(&stream, &cuts), allowed), whole);
    }

    #[test]
    fn a_flipped_byte_never_delivers_another_body(
        bodies in bodies(), at: Index, flip in 1u8..,
    ) {
        let mut stream = stream_of(&bodies);
        prop_assume!(!stream.is_empty());
        let at = at.index(stream.len());
        stream[at] ^= flip;
        let (found, _) = frames(&[stream.into()], Allowed::All);
        prop_assert!(found.len() < bodies.len(), "the frame of the byte is not delivered");
        for (found, (channel, body)) in found.iter().zip(&bodies) {
            prop_assert_eq!((found.channel, &found.body[..]), (*channel, &body[..]));
        }
    }

    #[test]
    fn a_machine_does_the_same_however_its_bytes_are_cut(
        bodies in bodies(), pings: Vec<u64>, flip: Option<(Index, u8)>, cuts: Vec<Index>,
    ) {
        let mut stream = link(Message::Hello(hello(&identity(2, 22), 1))).to_vec();
        for number in pings.into_iter().take(3) {
            stream.extend(link(Message::Ping(number)));
        }
        stream.extend(stream_of(&bodies));
        if let Some((at, flip)) = flip {
            let at = at.index(stream.len());
            stream[at] ^= flip;
        }
        let whole = effects(vec![Bytes::copy_from_slice(&stream)]).0;
        prop_assert_eq!(effects(cut(&stream, &cuts)).0, whole);
    }

    #[test]
    fn a_stranger_that_sends_anything_gets_nothing_through_and_costs_little(
        stream in prop::collection::vec(any::<u8>(), 0..9_000), cuts: Vec<Index>, length: u16,
    ) {
        let mut stream = stream;
        // Most random lengths are impossible at once.
        stream.splice(0..stream.len().min(4), u32::from(length % 5_000).to_le_bytes());
        if let Some(channel) = stream.get_mut(8) {
            *channel %= 5;
        }
        let (outputs, links) = effects(cut(&stream, &cuts));
        for output in outputs {
            prop_assert!(matches!(output, Output::Close(A1) | Output::Notice(..)), "{output:?}");
        }
        prop_assert!(links.held_bytes() <= PEER_LINK_BYTES_MAX + 11);
    }

    #[test]
    fn a_peer_that_sends_anything_never_ends_the_process(
        junk: Vec<(u8, Vec<u8>)>, cuts: Vec<Index>,
    ) {
        let mut stream = link(Message::Hello(hello(&identity(2, 22), 1))).to_vec();
        for (channel, body) in junk {
            let channel = Channel::ALL[usize::from(channel % 4)];
            stream.extend(frame(channel, &body));
        }
        effects(cut(&stream, &cuts));
        // And the same to a dialler.
        let mut bench = Bench::up();
        for piece in cut(&stream, &cuts) {
            bench.bytes(crate::bench::D1, piece);
        }
    }
}

#[test]
fn a_length_or_a_channel_that_can_not_be_is_seen_before_anything_else_has_come() {
    let ends = |bytes: &[u8], allowed| frames(&[Bytes::copy_from_slice(bytes)], allowed).1;
    assert_eq!(ends(&[0, 0, 0, 0], Allowed::All), Some(FrameError::Length(0)));
    assert_eq!(ends(&[255; 4], Allowed::All), Some(FrameError::Length(u32::MAX)));
    assert_eq!(
        ends(&[3, 0, 0, 0, 9, 9, 9, 9, 4], Allowed::All),
        Some(FrameError::UnknownChannel(4))
    );
    assert_eq!(
        ends(&[3, 0, 0, 0, 9, 9, 9, 9, 1], Allowed::Link),
        Some(FrameError::OutOfPlace(Channel::Control))
    );
    assert_eq!(ends(&[2, 0, 0, 0], Allowed::All), Some(FrameError::Length(2)));
    // The head is wrong, and the body is not waited for.
    let damaged = [9, 0, 0, 0, 9, 9, 9, 9, 1, 0, 0];
    assert_eq!(ends(&damaged, Allowed::All), Some(FrameError::Checksum));
    assert_eq!(
        ends(&[4, 0x10, 0, 0, 9, 9, 9, 9, 0], Allowed::Link),
        Some(FrameError::TooLong { channel: Channel::Link, length: 4097, max: 4096 })
    );
}

#[test]
fn room_is_made_as_bytes_come_and_never_more_than_for_the_frame() {
    let body = vec![7; PEER_CONTROL_BYTES_MAX];
    let stream = frame(Channel::Control, &body);
    let mut decoder = Decoder::default();
    let mut came = 0;
    for piece in stream.chunks(1_000) {
        decoder.push(Bytes::copy_from_slice(piece));
        came += piece.len();
        let frame = decoder.next(Allowed::All).unwrap();
        assert_eq!(frame.is_some(), came == stream.len());
        assert!(decoder.held_bytes() <= (2 * came).min(stream.len()), "{came}");
    }
}

#[test]
fn a_small_message_does_not_keep_a_large_read() {
    let mut stream = frame(Channel::Control, b"small").to_vec();
    stream.extend(frame(Channel::Data, &[1; 60_000]));
    let stream = Bytes::from(stream);
    let (found, _) = frames(std::slice::from_ref(&stream), Allowed::All);
    let within = |body: &Bytes| stream.as_ptr_range().contains(&body.as_ptr());
    assert!(!within(&found[0].body), "copied");
    assert!(within(&found[1].body), "not copied");
}
