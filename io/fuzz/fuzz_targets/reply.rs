//! Any bytes as replies, whole and cut: no panic, the same frames and error either way, and every
//! frame can be printed. The first byte chooses the cuts.
#![no_main]

use bytes::BytesMut;
use kvnode_io::resp::{DecodeError, Decoder, Frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    let whole = play(stream, stream.len().max(1));
    for frame in &whole.0 {
        assert!(frame.to_tty().ends_with(b"\n"));
        assert!(frame.to_raw().ends_with(b"\n"));
    }
    assert_eq!(whole, play(stream, usize::from(cut).max(1)));
});

/// The frames of `stream` read `cut` bytes at a time, and what ended it.
fn play(stream: &[u8], cut: usize) -> (Vec<Frame>, Option<DecodeError>) {
    let mut decoder = Decoder::default();
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for read in stream.chunks(cut) {
        buffer.extend_from_slice(read);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
