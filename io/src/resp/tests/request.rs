//! Requests: what is a command, what is refused, and that neither cutting nor claims matter.

use bytes::BytesMut;
use kvnode_core::limits::{ARGS_MAX, ARGUMENT_BYTES_MAX, COMMAND_BYTES_MAX, INLINE_BYTES_MAX};
use kvnode_core::reply::Reply;
use proptest::prelude::*;

use super::super::request::MISSING_BYTES_MAX;
use super::super::{Malformed, Parsed, Parser, encode_command};
use super::{Cuts, almost_resp};

type Command = Vec<Vec<u8>>;

/// What a connection makes of a stream: its commands, how far it came, the error that ended it.
#[derive(Debug, PartialEq)]
struct Outcome {
    commands: Vec<Command>,
    taken: usize,
    malformed: Option<Malformed>,
}

/// Plays a connection's reads, and holds the parser to its bounds at each step.
fn play(stream: &[u8], cuts: &Cuts) -> Outcome {
    let mut parser = Parser::default();
    let mut buffer = Vec::new();
    let (mut commands, mut taken) = (Vec::new(), 0);
    for read in cuts.reads(stream) {
        buffer.extend_from_slice(read);
        loop {
            let parsed = parser.next(&buffer);
            assert!(parser.scratch_bytes() <= 4 * buffer.len() + 4096, "memory follows arrival");
            let consumed = match parsed {
                Parsed::Command { consumed } => {
                    commands.push(parser.args(&buffer).iter().map(|arg| arg.to_vec()).collect());
                    consumed
                }
                Parsed::Skipped { consumed } => consumed,
                Parsed::Incomplete { missing } => {
                    assert!((1..=MISSING_BYTES_MAX).contains(&missing));
                    break;
                }
                Parsed::Malformed(why) => {
                    assert_eq!(parser.next(&buffer), parsed, "an error stands");
                    return Outcome { commands, taken, malformed: Some(why) };
                }
            };
            assert!((1..=buffer.len()).contains(&consumed), "a step takes something");
            buffer.drain(..consumed);
            taken += consumed;
        }
    }
    Outcome { commands, taken, malformed: None }
}

/// As [`play`], in one read and byte by byte.
fn play_both(stream: &[u8]) -> Outcome {
    let whole = play(stream, &Cuts::Nowhere);
    assert_eq!(play(stream, &Cuts::Everywhere), whole);
    whole
}

fn command(args: &[&str]) -> Command {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}

/// Each with a PING behind it, which is never executed. Texts and cases as a Redis server gives
/// them.
#[test]
fn malformed_requests_are_refused_in_redis_words() {
    for (request, text) in [
        ("*abc\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("* 1\r\n", "invalid multibulk length"),
        ("*-0\r\n", "invalid multibulk length"),
        ("*1\n$4\r\n", "invalid multibulk length"),
        ("*\n$4\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\r\n+PING\r\n", "expected '$', got '+'"),
        ("*1\r\n:4\r\n", "expected '$', got ':'"),
        ("*1\r\n'x\r\n", "expected '$', got '''"),
        ("*1\r\n\x01x\r\n", "expected '$', got '\x01'"),
        ("*1\r\n\r\n", "expected '$', got '\r'"),
        ("*1\r\n\nx\r\n", "expected '$', got '\n'"),
        ("*2\r\n$4\r\nECHO\r\n*1\r\n", "expected '$', got '*'"),
        ("*1\r\n$abc\r\n", "invalid bulk length"),
        ("*1\r\n$\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$-0\r\n", "invalid bulk length"),
        ("*1\r\n$04\r\n", "invalid bulk length"),
        ("*1\r\n$4xPING\r\n", "invalid bulk length"),
        ("*1\r\n$67109889\r\n", "invalid bulk length"),
        ("*1\r\n$1073741824\r\n", "invalid bulk length"),
        ("*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        ("*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
        ("ECHO \"abc\r\n", "unbalanced quotes in request"),
        ("ECHO 'abc\r\n", "unbalanced quotes in request"),
        ("ECHO \"abc\"d\r\n", "unbalanced quotes in request"),
        ("ECHO ok \"abc\\\"\n", "unbalanced quotes in request"),
    ] {
        let stream = format!("{request}*1\r\n$4\r\nPING\r\n");
        let outcome = play_both(stream.as_bytes());
        assert_eq!(outcome.commands, [] as [Command; 0], "{request:?}");
        let malformed = outcome.malformed.unwrap_or_else(|| panic!("{request:?} is refused"));
        let reply = Reply::error_owned(format!("ERR Protocol error: {text}"));
        assert_eq!(malformed.reply(), reply, "{request:?}");
    }
}

/// Until a client has said who it is, and from then on.
#[test]
fn little_is_taken_from_strangers() {
    let long = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n", (16 << 10) + 1);
    for (request, text) in [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        (&*long, "unauthenticated bulk length"),
        ("*1\r\n$67109889\r\n", "invalid bulk length"),
    ] {
        let mut parser = Parser::default();
        parser.set_stranger(true);
        let Parsed::Malformed(why) = parser.next(request.as_bytes()) else {
            panic!("{request:?} is taken")
        };
        assert_eq!(why.to_string(), format!("Protocol error: {text}"));
    }
    let mut parser = Parser::default();
    parser.set_stranger(true);
    let ten = format!("*10\r\n{}", "$1\r\na\r\n".repeat(10));
    assert_eq!(parser.next(ten.as_bytes()), Parsed::Command { consumed: ten.len() });
    parser.set_stranger(false);
    let eleven = format!("*11\r\n{}", "$1\r\na\r\n".repeat(11));
    assert_eq!(parser.next(eleven.as_bytes()), Parsed::Command { consumed: eleven.len() });
}

#[test]
fn what_redis_tolerates_is_tolerated() {
    let ping = command(&["PING"]);
    for (request, first) in [
        ("*0\r\n", None),
        ("*-1\r\n", None),
        ("*-5\r\n", None),
        ("*-99999999999\r\n", None),
        ("\r\n", None),
        ("\n", None),
        (" \t \r\n", None),
        ("\r\n*0\r\n\n", None),
        ("ping\n", Some(command(&["ping"]))),
        ("ping\r\r\n", Some(command(&["ping"]))),
        ("ping\rpong\n", Some(command(&["ping", "pong"]))),
        ("$3 get\r\n", Some(command(&["$3", "get"]))),
        ("echo a\0b\n", Some(command(&["echo", "a\0b"]))),
        ("*1\r\n$4\r\nPINGxx", Some(ping.clone())),
        ("*1\r\n$4\rxPING\r\n", Some(ping.clone())),
        ("*1\rx$4\r\nPING\r\n", Some(ping.clone())),
        ("*1\r\n$0\r\n\r\n", Some(command(&[""]))),
        ("*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n", Some(command(&["ECHO", "\r\n"]))),
    ] {
        let stream = format!("{request}*1\r\n$4\r\nPING\r\n");
        let outcome = play_both(stream.as_bytes());
        let expected: Vec<Command> = first.into_iter().chain([ping.clone()]).collect();
        assert_eq!(
            outcome,
            Outcome { commands: expected, taken: stream.len(), malformed: None },
            "{request:?}"
        );
    }
}

#[test]
fn a_line_ends_within_its_limit() {
    let line = |prefix: &str, len: usize, ending: &str| {
        [prefix.as_bytes(), &vec![b'1'; len], ending.as_bytes()].concat()
    };
    // The longest: its end stands at INLINE_BYTES_MAX.
    let longest = play_both(&line("", INLINE_BYTES_MAX, "\n"));
    assert_eq!(longest.commands, [vec![vec![b'1'; INLINE_BYTES_MAX]]]);
    for (stream, malformed) in [
        (line("", INLINE_BYTES_MAX + 1, "\n"), Some(Malformed::InlineLine)),
        (line("", INLINE_BYTES_MAX + 1, ""), Some(Malformed::InlineLine)),
        (line("", INLINE_BYTES_MAX, ""), None),
        (line("*", INLINE_BYTES_MAX - 1, "\r\n"), Some(Malformed::MultibulkLength)),
        (line("*", INLINE_BYTES_MAX - 1, "\r"), None),
        (line("*", INLINE_BYTES_MAX, "\r\n"), Some(Malformed::MultibulkLine)),
        (line("*", INLINE_BYTES_MAX, ""), Some(Malformed::MultibulkLine)),
        (line("*1\r\n$", INLINE_BYTES_MAX - 1, "\r\n"), Some(Malformed::BulkLength)),
        (line("*1\r\n$", INLINE_BYTES_MAX, "\r\n"), Some(Malformed::BulkLine)),
        (line("*1\r\n$", INLINE_BYTES_MAX, ""), Some(Malformed::BulkLine)),
        (line("*1\r\n+", INLINE_BYTES_MAX, ""), Some(Malformed::BulkLine)),
    ] {
        assert_eq!(play_both(&stream).malformed, malformed);
    }
}

#[test]
fn a_claim_takes_no_memory() {
    for (claim, missing) in [
        (format!("*{ARGS_MAX}\r\n"), 1),
        (format!("*{ARGS_MAX}\r\n$3\r\nDEL\r\n$1\r\n"), 3),
        (format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${ARGUMENT_BYTES_MAX}\r\n"), MISSING_BYTES_MAX),
        (format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${ARGUMENT_BYTES_MAX}\r\nabc"), MISSING_BYTES_MAX),
        ("*2\r\n$3\r\nGET\r\n$1000\r\nabc".to_owned(), 999),
    ] {
        let mut parser = Parser::default();
        assert_eq!(parser.next(claim.as_bytes()), Parsed::Incomplete { missing }, "{claim:?}");
        assert!(parser.scratch_bytes() <= 64, "{claim:?}: {}", parser.scratch_bytes());
    }
    let mut parser = Parser::default();
    let refused = parser.next(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n");
    assert_eq!(refused, Parsed::Malformed(Malformed::BulkLength));
    assert!(parser.scratch_bytes() <= 64);
}

#[test]
fn a_huge_command_leaves_little_behind() {
    let mut stream = BytesMut::new();
    encode_command(&vec![b"a"; ARGS_MAX], &mut stream);
    let mut parser = Parser::default();
    assert_eq!(parser.next(&stream), Parsed::Command { consumed: stream.len() });
    assert_eq!(parser.args(&stream).len(), ARGS_MAX);
    assert!(parser.scratch_bytes() > ARGS_MAX);
    assert_eq!(parser.next(&[]), Parsed::Incomplete { missing: 1 });
    assert!(parser.scratch_bytes() <= 4096);
}

#[test]
fn a_command_has_a_total_limit() {
    // Bodies of zeroes are never touched, so this takes address space but no memory.
    let body = ARGUMENT_BYTES_MAX;
    let head = format!("${body}\r\n");
    let mut stream = vec![0; COMMAND_BYTES_MAX];
    stream[..4].copy_from_slice(b"*4\r\n");
    let mut at = 4;
    for _ in 0..3 {
        stream[at..at + head.len()].copy_from_slice(head.as_bytes());
        at += head.len() + body + 2;
    }
    let room = COMMAND_BYTES_MAX - at - head.len() - 2;
    for (last, expected) in [
        (room, Parsed::Command { consumed: COMMAND_BYTES_MAX }),
        (room + 1, Parsed::Malformed(Malformed::CommandBytes)),
    ] {
        let head = format!("${last}\r\n");
        stream[at..at + head.len()].copy_from_slice(head.as_bytes());
        assert_eq!(Parser::default().next(&stream), expected);
    }
}

#[test]
fn one_byte_at_a_time_costs_no_more_than_all_at_once() {
    // With a search or a parse from the start at each byte this would be 10^13 steps.
    let mut stream = BytesMut::new();
    encode_command(&[b"SET".to_vec(), b"k".to_vec(), vec![b'v'; 4 << 20]], &mut stream);
    encode_command(&vec![b"a"; 100_000], &mut stream);
    stream.extend_from_slice(&vec![b'p'; INLINE_BYTES_MAX]);
    let mut parser = Parser::default();
    let (mut start, mut commands) = (0, 0);
    for end in 0..=stream.len() {
        if let Parsed::Command { consumed } = parser.next(&stream[start..end]) {
            start += consumed;
            commands += 1;
        }
    }
    assert_eq!((commands, stream.len() - start), (2, INLINE_BYTES_MAX));
}

proptest! {
    #[test]
    fn commands_arrive_as_they_were_sent(
        commands in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20), 0..8),
        cuts in Cuts::any(),
    ) {
        let mut stream = BytesMut::new();
        for command in &commands {
            encode_command(command, &mut stream);
        }
        let expected = Outcome { commands, taken: stream.len(), malformed: None };
        prop_assert_eq!(play(&stream, &cuts), expected);
    }

    #[test]
    fn cuts_change_nothing(stream in almost_resp(), cuts in Cuts::any()) {
        prop_assert_eq!(play(&stream, &cuts), play(&stream, &Cuts::Nowhere));
    }

    #[test]
    fn noise_does_no_harm(stream in prop::collection::vec(any::<u8>(), 0..400), cuts in Cuts::any()) {
        prop_assert_eq!(play(&stream, &cuts), play(&stream, &Cuts::Nowhere));
    }
}
