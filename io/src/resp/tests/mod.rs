//! The codec from outside: streams cut in every way, and what they come to.

mod decode;
mod encode;
mod render;
mod request;

use proptest::prelude::*;
use proptest::sample::Index;

/// Where a stream of bytes is cut into reads.
#[derive(Clone, Debug)]
enum Cuts {
    Nowhere,
    Everywhere,
    At(Vec<Index>),
}

impl Cuts {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Just(Self::Nowhere),
            Just(Self::Everywhere),
            prop::collection::vec(any::<Index>(), 1..12).prop_map(Self::At),
        ]
    }

    /// The reads, in order; some may be empty.
    fn reads<'a>(&self, stream: &'a [u8]) -> Vec<&'a [u8]> {
        match self {
            Self::Nowhere => vec![stream],
            Self::Everywhere => stream.chunks(1).collect(),
            Self::At(places) => {
                let mut ends: Vec<usize> =
                    places.iter().map(|place| place.index(stream.len() + 1)).collect();
                ends.push(stream.len());
                ends.sort_unstable();
                let mut start = 0;
                ends.into_iter()
                    .map(|end| &stream[std::mem::replace(&mut start, end)..end])
                    .collect()
            }
        }
    }
}

/// Bytes that are RESP in parts: what a parser can go wrong on sooner than on noise.
fn almost_resp() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "\r\n", "\r", "\n", "*", "$", "*1\r\n", "*2\r\n", "$1\r\nk\r\n", "$3\r\nGET\r\n", "$0\r\n",
            "*0\r\n", "*-1\r\n", "*3\r\n$1\r\n", "$-1\r\n", "0", "1", "12", "-", "PING\r\n", "GET k\n",
            "\"a b\"", "'", "\"", "\\", "\\x41", " ", "+OK\r\n", "-ERR x\r\n", ":1\r\n", "_\r\n", "%1\r\n",
            "~2\r\n", ">1\r\n", "|1\r\n", ",1.5\r\n", "#t\r\n", "(12\r\n", "=5\r\ntxt:a\r\n", "!1\r\nE\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}
