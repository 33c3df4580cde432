//! Replies: the exact bytes of each shape, and that a client reads back what was meant.

use bytes::BytesMut;
use kvnode_core::reply::{Protocol, Reply};
use proptest::prelude::*;

use super::super::encode::{bulk_bytes, encode_bulk_head};
use super::super::{Decoder, Frame, encode};
use super::Cuts;

fn encoded(reply: &Reply, protocol: Protocol) -> String {
    let mut out = BytesMut::new();
    encode(reply, protocol, &mut out);
    String::from_utf8(out.to_vec()).expect("these are text")
}

#[test]
fn each_shape_is_spelled_as_redis_does() {
    let pair = || vec![Reply::bulk(b"a"), Reply::Null];
    for (reply, resp2, resp3) in [
        (Reply::OK, "+OK\r\n", "+OK\r\n"),
        (Reply::error("ERR no such key"), "-ERR no such key\r\n", "-ERR no such key\r\n"),
        (Reply::Int(0), ":0\r\n", ":0\r\n"),
        (Reply::Int(i64::MAX), ":9223372036854775807\r\n", ":9223372036854775807\r\n"),
        (Reply::Int(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
        (Reply::bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (Reply::bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
        (Reply::Null, "$-1\r\n", "_\r\n"),
        (Reply::NullArray, "*-1\r\n", "_\r\n"),
        (Reply::Array(vec![]), "*0\r\n", "*0\r\n"),
        (Reply::Array(pair()), "*2\r\n$1\r\na\r\n$-1\r\n", "*2\r\n$1\r\na\r\n_\r\n"),
        (Reply::Set(pair()), "*2\r\n$1\r\na\r\n$-1\r\n", "~2\r\n$1\r\na\r\n_\r\n"),
        (
            Reply::Map(vec![(Reply::bulk(b"a"), Reply::Int(1))]),
            "*2\r\n$1\r\na\r\n:1\r\n",
            "%1\r\n$1\r\na\r\n:1\r\n",
        ),
        (Reply::Double("1.5".into()), "$3\r\n1.5\r\n", ",1.5\r\n"),
        (Reply::Verbatim("a b".into()), "$3\r\na b\r\n", "=7\r\ntxt:a b\r\n"),
    ] {
        assert_eq!(encoded(&reply, Protocol::Resp2), resp2, "{reply:?}");
        assert_eq!(encoded(&reply, Protocol::Resp3), resp3, "{reply:?}");
    }
}

#[test]
fn an_error_cannot_forge_a_reply() {
    let forged = Reply::error_owned("ERR unknown command 'x\r\n+OK\r\n'".into());
    assert_eq!(encoded(&forged, Protocol::Resp2), "-ERR unknown command 'x  +OK  '\r\n");
}

#[test]
fn a_value_written_from_its_place_makes_the_same_bytes() {
    let reply = Reply::bulk(&[b'v'; 300]);
    let mut out = BytesMut::new();
    encode_bulk_head(bulk_bytes(&reply), &mut out);
    out.extend_from_slice(&[b'v'; 300]);
    out.extend_from_slice(b"\r\n");
    assert_eq!(out, encoded(&reply, Protocol::Resp3));
    assert_eq!(bulk_bytes(&Reply::OK), 0);
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let text = || prop::string::string_regex("[ -~\u{e4}\r\n]{0,30}").expect("a regex");
    let leaf = prop_oneof![
        prop::sample::select(vec!["OK", "QUEUED", "PONG", ""]).prop_map(Reply::Simple),
        text().prop_map(Reply::error_owned),
        any::<i64>().prop_map(Reply::Int),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| Reply::bulk(&bytes)),
        Just(Reply::Null),
        Just(Reply::NullArray),
        prop_oneof![any::<f64>().prop_map(|n| n.to_string()), Just("-inf".to_owned())]
            .prop_map(|text| Reply::Double(text.into())),
        text().prop_map(|text| Reply::Verbatim(text.into())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Reply::Array),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Reply::Set),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Reply::Map),
        ]
    })
}

/// What a client is to see of `reply`.
fn seen(reply: &Reply, protocol: Protocol) -> Frame {
    let resp3 = protocol == Protocol::Resp3;
    let all = |items: &[Reply]| items.iter().map(|item| seen(item, protocol)).collect();
    match reply {
        Reply::Simple(text) => Frame::Simple(text.as_bytes().to_vec()),
        Reply::Error(text) => Frame::Error(text.replace(['\r', '\n'], " ").into_bytes()),
        Reply::Int(n) => Frame::Int(*n),
        Reply::Bulk(value) => Frame::Bulk(value.to_vec()),
        Reply::NullArray if !resp3 => Frame::NullArray,
        Reply::Null | Reply::NullArray => Frame::Null,
        Reply::Array(items) => Frame::Array(all(items)),
        Reply::Set(items) if resp3 => Frame::Set(all(items)),
        Reply::Set(items) => Frame::Array(all(items)),
        Reply::Map(pairs) if resp3 => {
            Frame::Map(pairs.iter().map(|(k, v)| (seen(k, protocol), seen(v, protocol))).collect())
        }
        Reply::Map(pairs) => Frame::Array(
            pairs.iter().flat_map(|(k, v)| [seen(k, protocol), seen(v, protocol)]).collect(),
        ),
        Reply::Double(text) if resp3 => Frame::Double(text.clone()),
        Reply::Verbatim(text) if resp3 => {
            Frame::Verbatim { format: *b"txt", text: text.as_bytes().to_vec() }
        }
        Reply::Double(text) | Reply::Verbatim(text) => Frame::Bulk(text.as_bytes().to_vec()),
    }
}

proptest! {
    #[test]
    fn a_client_reads_what_was_meant(
        replies in prop::collection::vec(any_reply(), 0..6),
        resp3 in any::<bool>(),
        cuts in Cuts::any(),
    ) {
        let protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut stream = BytesMut::new();
        for reply in &replies {
            encode(reply, protocol, &mut stream);
        }
        let expected: Vec<Frame> = replies.iter().map(|reply| seen(reply, protocol)).collect();

        let mut decoder = Decoder::default();
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        for read in cuts.reads(&stream) {
            buffer.extend_from_slice(read);
            while let Some(frame) = decoder.next(&mut buffer).expect("RESP") {
                frames.push(frame);
            }
        }
        prop_assert_eq!(frames, expected);
        prop_assert!(buffer.is_empty() && !decoder.is_midway());
    }
}
