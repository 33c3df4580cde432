//! The bytes on the wire, pinned.

use bytes::Bytes;
use kvnode_core::peer::frame::{Channel, encode};
use kvnode_core::peer::{Message, Nonce, RefusalKind, Refused, Versions, Welcome};
use kvnode_core::{ClusterId, DirectoryId, Member, NodeId};
use proptest::prelude::*;

use crate::bench::{hello, identity};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_frame_is_length_checksum_channel_and_body() {
    let (whole, rest) = encode(Channel::Control, Bytes::from_static(b"body"));
    assert_eq!(rest, None);
    assert_eq!(
        hex(&whole),
        concat!(
            "07000000", // length: channel, check of the head, body
            "030aae01", // checksum
            "01",       // channel: control
            "6e92",     // check of the head
            "626f6479"  // body
        )
    );
}

#[test]
fn a_long_body_is_not_copied() {
    let body = Bytes::from(vec![7; 1 << 20]);
    let (head, rest) = encode(Channel::Data, body.clone());
    assert_eq!((head.len(), head[8]), (11, 2));
    assert_eq!(rest.unwrap().as_ptr(), body.as_ptr());
}

#[test]
fn a_hello_and_a_welcome_keep_their_bytes() {
    let mut me = identity(1, 0x0b);
    me.versions = Versions { min: 1, max: 2 };
    me.cluster = Some(ClusterId(0x81));
    me.member.directory = DirectoryId(0x2a);
    assert_eq!(
        hex(&Message::Hello(hello(&me, 3)).encode()),
        concat!(
            "00",               // Hello
            "6b766e6f64653e3e", // magic
            "0102",             // versions
            "01",               // feature level
            "018101",           // cluster, known
            "012a",             // node and directory
            "0b",               // nonce
            "03",               // whom it has dialled
            "f001"              // founding settings
        )
    );
    let member = Member { node: NodeId(3), directory: DirectoryId(5) };
    let welcome = Welcome { version: 1, features: 4, cluster: None, member, nonce: Nonce(6) };
    assert_eq!(hex(&Message::Welcome(welcome).encode()), "01010400030506");
    assert_eq!(
        hex(&Message::Refused(Refused { code: 6, text: "no".into() }).encode()),
        "0206026e6f"
    );
    assert_eq!(hex(&Message::Ping(300).encode()), "03ac02");
    assert_eq!(hex(&Message::Pong(1).encode()), "0401");
}

#[test]
fn what_a_later_release_appends_to_a_message_is_skipped() {
    let message = Message::Hello(hello(&identity(1, 2), 3));
    let mut body = message.encode().to_vec();
    body.extend_from_slice(b"more");
    assert_eq!(Message::decode(&body), Some(message));
}

#[test]
fn a_message_that_is_unknown_or_cut_is_none() {
    assert_eq!(Message::decode(&[9, 1, 2]), None);
    let body = Message::Hello(hello(&identity(1, 2), 3)).encode();
    for cut in 0..body.len() {
        assert_eq!(Message::decode(&body[..cut]), None, "{cut}");
    }
}

#[test]
fn a_refusal_keeps_its_byte() {
    let kinds: Vec<_> = (1..=7).map(RefusalKind::from_code).collect();
    assert_eq!(
        kinds,
        [
            RefusalKind::Version,
            RefusalKind::Itself,
            RefusalKind::WrongNode,
            RefusalKind::DuplicateId,
            RefusalKind::OtherCluster,
            RefusalKind::NotListed,
            RefusalKind::Founding,
        ]
    );
    for code in 0..=u8::MAX {
        assert_eq!(RefusalKind::from_code(code).code(), code);
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        versions: (u16, u16), features: u32, cluster: Option<u128>, node: u32, directory: u128,
        nonce: u64, dialled: u32, founding: u64, code: u8, text: String,
    ) {
        let mut me = identity(node, nonce);
        me.versions = Versions { min: versions.0, max: versions.1 };
        me.features = features;
        me.cluster = cluster.map(ClusterId);
        me.member.directory = DirectoryId(directory);
        me.founding = founding;
        let text: String = text.chars().take(100).collect();
        for message in [
            Message::Hello(hello(&me, dialled)),
            Message::Welcome(crate::bench::welcome(&me)),
            Message::Refused(Refused { code, text }),
            Message::Ping(nonce),
            Message::Pong(nonce),
        ] {
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }
}
