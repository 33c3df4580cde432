//! Replies of any server: every type, every refusal, and that cutting does not matter.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::decode::{DEPTH_MAX, ELEMENTS_MAX, LINE_BYTES_MAX, STRING_BYTES_MAX};
use super::super::{DecodeError, Decoder, Frame};
use super::{Cuts, almost_resp};

/// The replies in `stream`, and the error that ended it.
fn play(stream: &[u8], cuts: &Cuts) -> (Vec<Frame>, Option<DecodeError>) {
    let mut decoder = Decoder::default();
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for read in cuts.reads(stream) {
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

fn bulk(text: &str) -> Frame {
    Frame::Bulk(text.as_bytes().to_vec())
}

#[test]
fn each_type_is_read() {
    for (bytes, frame) in [
        ("+OK\r\n", Frame::Simple(b"OK".to_vec())),
        ("-ERR x\r\n", Frame::Error(b"ERR x".to_vec())),
        ("!5\r\nE\r\nRR\r\n", Frame::Error(b"E\r\nRR".to_vec())),
        (":-12\r\n", Frame::Int(-12)),
        ("$0\r\n\r\n", bulk("")),
        ("$4\r\na\r\nb\r\n", bulk("a\r\nb")),
        ("$-1\r\n", Frame::Null),
        ("_\r\n", Frame::Null),
        ("*-1\r\n", Frame::NullArray),
        ("*0\r\n", Frame::Array(vec![])),
        ("*2\r\n*1\r\n:1\r\n*0\r\n", {
            Frame::Array(vec![Frame::Array(vec![Frame::Int(1)]), Frame::Array(vec![])])
        }),
        ("%2\r\n+a\r\n:1\r\n$1\r\nb\r\n%0\r\n", {
            Frame::Map(vec![
                (Frame::Simple(b"a".to_vec()), Frame::Int(1)),
                (bulk("b"), Frame::Map(vec![])),
            ])
        }),
        ("~1\r\n#t\r\n", Frame::Set(vec![Frame::Bool(true)])),
        (">2\r\n+a\r\n#f\r\n", {
            Frame::Push(vec![Frame::Simple(b"a".to_vec()), Frame::Bool(false)])
        }),
        (",1.50\r\n", Frame::Double("1.50".into())),
        (",-inf\r\n", Frame::Double("-inf".into())),
        (",nan\r\n", Frame::Double("nan".into())),
        ("(-12345678901234567890\r\n", Frame::BigNumber("-12345678901234567890".into())),
        ("=6\r\nmkd:*a\r\n", Frame::Verbatim { format: *b"mkd", text: b"*a".to_vec() }),
        // Attributes stand before what they speak of, also inside an aggregate.
        ("|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n", bulk("v")),
        ("|0\r\n|1\r\n+a\r\n*1\r\n:1\r\n:2\r\n", Frame::Int(2)),
        ("*2\r\n:1\r\n|1\r\n+a\r\n+b\r\n:2\r\n", {
            Frame::Array(vec![Frame::Int(1), Frame::Int(2)])
        }),
    ] {
        for cuts in [Cuts::Nowhere, Cuts::Everywhere] {
            let stream = format!("{bytes}:7\r\n");
            let expected = (vec![frame.clone(), Frame::Int(7)], None);
            assert_eq!(play(stream.as_bytes(), &cuts), expected, "{bytes:?}");
        }
    }
}

#[test]
fn what_is_no_reply_is_refused() {
    let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
    let long = format!("+{}", "x".repeat(LINE_BYTES_MAX + 1));
    for (bytes, error) in [
        ("HTTP/1.1 400\r\n", DecodeError::UnknownType(b'H')),
        ("\r\n", DecodeError::UnknownType(b'\r')),
        ("$?\r\n", DecodeError::BadLine(b'$')),
        ("$-2\r\n", DecodeError::BadLine(b'$')),
        ("$ 1\r\n", DecodeError::BadLine(b'$')),
        ("*1\n", DecodeError::BadLine(b'*')),
        ("*x\r\n", DecodeError::BadLine(b'*')),
        ("*-2\r\n", DecodeError::BadLine(b'*')),
        ("%-1\r\n", DecodeError::BadLine(b'%')),
        (":\r\n", DecodeError::BadLine(b':')),
        (":9223372036854775808\r\n", DecodeError::BadLine(b':')),
        ("_x\r\n", DecodeError::BadLine(b'_')),
        ("#y\r\n", DecodeError::BadLine(b'#')),
        (",one\r\n", DecodeError::BadLine(b',')),
        ("(\r\n", DecodeError::BadLine(b'(')),
        ("(1.5\r\n", DecodeError::BadLine(b'(')),
        ("=3\r\ntxt\r\n", DecodeError::BadLine(b'=')),
        ("=4\r\ntxt;\r\n", DecodeError::BadLine(b'=')),
        ("$1\r\nab\r\n", DecodeError::Unterminated),
        (&format!("${}\r\n", STRING_BYTES_MAX + 1), DecodeError::StringBytes),
        (&format!("*{}\r\n", ELEMENTS_MAX + 1), DecodeError::Elements),
        (&format!("%{}\r\n", ELEMENTS_MAX / 2 + 1), DecodeError::Elements),
        ("%9223372036854775807\r\n", DecodeError::Elements),
        (&format!("*2\r\n*{}\r\n", ELEMENTS_MAX - 1), DecodeError::Elements),
        (&deep, DecodeError::Depth),
        (&long, DecodeError::LineBytes),
        (&format!("{long}\r\n"), DecodeError::LineBytes),
    ] {
        for cuts in [Cuts::Nowhere, Cuts::Everywhere] {
            let shown = &bytes[..bytes.len().min(40)];
            assert_eq!(play(bytes.as_bytes(), &cuts), (vec![], Some(error)), "{shown:?}");
        }
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let deep = [&"*1\r\n".repeat(DEPTH_MAX), ":1\r\n"].concat();
    let long = format!("+{}\r\n", "x".repeat(LINE_BYTES_MAX - 1));
    for stream in [deep, long] {
        for cuts in [Cuts::Nowhere, Cuts::Everywhere] {
            let (frames, error) = play(stream.as_bytes(), &cuts);
            assert_eq!((frames.len(), error), (1, None));
        }
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(stream in almost_resp(), cuts in Cuts::any()) {
        let whole = play(&stream, &Cuts::Nowhere);
        for frame in &whole.0 {
            frame.to_raw();
            frame.to_tty();
        }
        prop_assert_eq!(play(&stream, &cuts), whole);
    }

    #[test]
    fn noise_does_no_harm(stream in prop::collection::vec(any::<u8>(), 0..400), cuts in Cuts::any()) {
        prop_assert_eq!(play(&stream, &cuts), play(&stream, &Cuts::Nowhere));
    }
}
