//! How messages travel.

use bytes::Bytes;
use kvnode_core::replication::{Envelope, Message, Round};
use kvnode_core::{Epoch, Incarnation, Instant, Offset};

use super::{ack, asks};
use crate::replica::P;

#[test]
fn messages_keep_their_bytes() {
    let round = Round { incarnation: Incarnation(6), number: 300 };
    let sent = Instant(1_000);
    let (partition, epoch) = (P, Epoch(9));
    let hex = |message: Message| {
        let envelope = Envelope { partition, epoch, message };
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(bytes.clone()), Some(envelope));
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(hex(Message::Lead), "000900");
    assert_eq!(hex(asks(round, 8, 77)), "00090106ac02084d");
    let common = Message::Common { round, epoch: Epoch(8), end: Offset(70) };
    assert_eq!(hex(common), "00090206ac020846");
    assert_eq!(hex(Message::Restart { round }), "00090306ac02");
    let records = Bytes::from_static(b"abc");
    let (base, end, watermark) = (Offset(77), Offset(78), Offset(76));
    let append = Message::Append { round, beat: 5, sent, base, end, watermark, records };
    assert_eq!(hex(append), "00090406ac0205e8074d4e4c616263");
    assert_eq!(hex(ack(round, 5, sent, 78)), "00090506ac0205e8074e4e");
    let more = [hex_bytes("000900"), vec![0]].concat();
    assert_eq!(Envelope::decode(more.into()), None, "only records stand behind a head");
    assert_eq!(Envelope::decode(Bytes::from_static(&[0, 9, 6])), None);
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}
