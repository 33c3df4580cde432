//! Any bytes as requests, whole and cut: no panic, the same commands and error either way, and
//! memory that follows the bytes that arrived. The first byte chooses the cuts.
#![no_main]

use kvnode_io::resp::{Malformed, Parsed, Parser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    let cut = usize::from(cut).max(1);
    assert_eq!(play(stream, stream.len().max(1)), play(stream, cut));
});

type Outcome = (Vec<Vec<Vec<u8>>>, usize, Option<Malformed>);

/// The commands of `stream` read `cut` bytes at a time, how far it came, and what ended it.
fn play(stream: &[u8], cut: usize) -> Outcome {
    let mut parser = Parser::default();
    let (mut commands, mut taken) = (Vec::new(), 0);
    let mut arrived = 0;
    for read in stream.chunks(cut) {
        arrived += read.len();
        loop {
            let buffer = &stream[taken..arrived];
            let parsed = parser.next(buffer);
            assert!(parser.scratch_bytes() <= 4 * buffer.len() + 4096);
            match parsed {
                Parsed::Command { consumed } => {
                    commands.push(parser.args(buffer).iter().map(|arg| arg.to_vec()).collect());
                    taken += consumed;
                }
                Parsed::Skipped { consumed } => taken += consumed,
                Parsed::Incomplete { .. } => break,
                Parsed::Malformed(why) => return (commands, taken, Some(why)),
            }
        }
    }
    (commands, taken, None)
}
