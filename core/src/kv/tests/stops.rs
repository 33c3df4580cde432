//! A command that was stopped, wherever that was, has done nothing, and does the same when it is
//! evaluated again.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::world::{World, render, split};
use crate::kv::{Session, Stop, evaluate};

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&["a", "b", "c", "d"][..]).prop_map(String::from)
}

fn command() -> impl Strategy<Value = String> {
    const FORMS: &[&str] = &[
        "GET A",
        "SET A 5",
        "SET A B XX GET",
        "SET A B NX KEEPTTL",
        "SET A 6 IFEQ 5",
        "GETDEL A",
        "GETEX A EX 100",
        "GETEX A PERSIST",
        "MGET A B A",
        "MSET A 1 B 2",
        "MSETNX A 1 B 2",
        "APPEND A xyz",
        "GETRANGE A 0 1",
        "SETRANGE A 2 zz",
        "INCR A",
        "INCRBYFLOAT A 0.5",
        "DEL A B A",
        "EXISTS A B",
        "RENAME A B",
        "RENAMENX A B",
        "COPY A B",
        "COPY A B REPLACE",
        "EXPIRE A 100",
        "EXPIRE A -1",
        "EXPIRE A 50 GT",
        "PERSIST A",
        "TTL A",
        "KEYS *",
        "DBSIZE",
        "SCAN 0 COUNT 2",
        "RANDOMKEY",
        "FLUSHALL",
        "DELIFEQ A 5",
        "WATCH A B",
        "UNWATCH",
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "EXEC",
        "DISCARD",
        "RESET",
        "CLIENT SETNAME B",
        "CLIENT GETNAME",
        "HELLO 3",
        "BAD A",
        "SET A",
        "GETSET A B",
        "STRLEN A",
        "LCS A B",
        "SETEX A 10 B",
        "INFO",
    ];
    let form = prop::sample::select(FORMS);
    (form, key(), key()).prop_map(|(form, a, b)| {
        let word = |word: &str| match word {
            "A" => a.clone(),
            "B" => b.clone(),
            word => String::from(word),
        };
        form.split(' ').map(word).collect::<Vec<_>>().join(" ")
    })
}

/// Evaluates `line`, stopping it in turn at each question it asks, until it asks no more.
fn run_with_stops(world: &mut World, line: &str, stop: &Stop) -> String {
    let args = split(line);
    let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
    for at in 1.. {
        let before = state(&world.session);
        let watchers = world.view.watchers();
        world.view.asked = 0;
        world.view.stop_at = Some((at, stop.clone()));
        match evaluate(&mut world.session, &args, &mut world.view, &mut world.changes) {
            Ok(reply) => {
                world.changes.check();
                world.view.apply(&mut world.changes);
                world.view.stop_at = None;
                return render(&reply, world.session.protocol());
            }
            Err(stopped) => {
                assert_eq!(stopped, *stop);
                assert_eq!(state(&world.session), before, "{line} stopped at {at}");
                assert_eq!(world.view.watchers(), watchers);
                world.changes.clear();
            }
        }
    }
    unreachable!("every command comes to an end")
}

/// What a stop leaves as it was: all but which command came last, and when.
fn state(session: &Session) -> String {
    format!("{:?} {:?} {:?}", session.settings, session.transaction, session.watched)
}

proptest! {
    #[test]
    fn a_stop_leaves_no_trace(lines in prop::collection::vec(command(), 1..40)) {
        let (mut plain, mut stopped, mut clocked) = (World::new(), World::new(), World::new());
        for line in &lines {
            let expected = plain.run(line);
            prop_assert_eq!(run_with_stops(&mut stopped, line, &Stop::Read), expected.clone());
            prop_assert_eq!(run_with_stops(&mut clocked, line, &Stop::Clock), expected);
            prop_assert_eq!(&stopped.view.items, &plain.view.items);
            prop_assert_eq!(&clocked.view.items, &plain.view.items);
        }
    }

    /// A key that can not be read (a damaged record) fails the commands that need it, whole.
    #[test]
    fn a_failed_read_fails_the_command_alone(
        lines in prop::collection::vec(command(), 1..20),
        at in 1..8_usize,
    ) {
        let mut world = World::new();
        for line in &lines {
            world.run(line);
        }
        let (mut plain, mut failing) = (World::new(), World::new());
        for view in [&mut plain.view, &mut failing.view] {
            view.items = world.view.items.clone();
        }
        failing.view.stop_at = Some((at, Stop::error("CORRUPT a record is damaged")));
        // The commands in one EXEC: the failing one is as if it had not been there.
        let (mut shown, mut done) = (Vec::new(), Vec::new());
        failing.run("MULTI");
        for line in lines.iter().filter(|line| !line.starts_with("FLUSH")) {
            if failing.run(line) == "+QUEUED" {
                done.push(line);
            }
            if !failing.session.in_transaction() {
                return Ok(());
            }
        }
        let exec: [&[u8]; 1] = [b"exec"];
        if let Ok(crate::reply::Reply::Array(replies)) = failing.evaluate(&exec) {
            for (reply, line) in replies.iter().zip(done) {
                let text = render(reply, plain.session.protocol());
                if !text.starts_with("-CORRUPT") {
                    plain.run(line);
                }
                shown.push(text);
            }
            prop_assert_eq!(failing.view.items, plain.view.items, "{:?}", shown);
        }
    }
}

#[test]
fn all_values_that_a_command_needs_are_read_together() {
    for lines in [&["MGET a b c"][..], &["MULTI", "GET a", "INCR b", "GET c", "EXEC"]] {
        let mut world = World::new();
        world.run("MSET a 1 b 2 c 3");
        world.view.cold = [b"a", b"b", b"c"].map(|key| key.to_vec()).into();
        let (last, first) = lines.split_last().unwrap();
        first.iter().for_each(|line| drop(world.run(line)));
        let args = split(last);
        let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
        assert_eq!(world.evaluate(&args), Err(Stop::Read));
        assert_eq!(world.view.noted, world.view.cold, "{lines:?}");
        world.view.cold.clear();
        assert!(world.evaluate(&args).is_ok());
    }
}
