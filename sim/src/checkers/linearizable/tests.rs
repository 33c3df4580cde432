use super::super::forge::{
    Forge, append, are, del, get, incr, is, k, mget, mset, set, set_with, t, ts,
};
use super::*;
use crate::history::{Left, Ttl, Val, When};
use Answer::{Aborted, Done, Int, Nil};

fn accepts(forge: &Forge) {
    let (violations, undecided) = check(forge.history());
    assert!(violations.is_empty() && undecided.is_empty(), "{violations:#?}");
}

/// Rejected, and because of this call.
fn rejects(forge: &Forge, call: usize) -> String {
    let (violations, undecided) = check(forge.history());
    assert!(undecided.is_empty());
    let [violation] = violations.as_slice() else { panic!("one violation, not {violations:#?}") };
    assert!(violation.calls.contains(&call), "{violation:#?}");
    let told = words::call(&forge.history().calls[call]);
    assert!(violation.text.contains(&format!("explains\n  {told}")), "{}", violation.text);
    violation.text.clone()
}

/// The same history twice: once as it should be, once with the other answer, which is the one that
/// can not be explained.
fn tells_apart(build: impl Fn(&mut Forge) -> usize, forged: Answer) {
    let mut forge = Forge::default();
    let call = build(&mut forge);
    accepts(&forge);
    forge.told(call, forged);
    rejects(&forge, call);
}

fn txn(watched: &[(u8, u32)], steps: Vec<Action>) -> Action {
    let watched = watched.iter().map(|&(key, id)| (k(key), (id != 0).then(|| t(id))));
    Action::Txn { watched: watched.collect(), steps }
}

#[test]
fn an_acknowledged_write_is_read() {
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        f.call(2, get(0), is(1))
    };
    tells_apart(build, Nil);
}

#[test]
fn of_two_writes_at_once_either_may_be_last_but_not_first_one_then_the_other() {
    let build = |f: &mut Forge| {
        let (a, b) = (f.ask(1, set(0, 1)), f.ask(2, set(0, 2)));
        f.told(a, Done).told(b, Done);
        f.call(3, get(0), is(1));
        f.call(3, get(0), is(1))
    };
    tells_apart(build, is(2));
}

#[test]
fn what_one_connection_asks_in_one_breath_takes_effect_in_order() {
    let mut forge = Forge::default();
    let (a, b) = (forge.ask(1, set(0, 1)), forge.ask(1, set(0, 2)));
    forge.told(a, Done).told(b, Done);
    let read = forge.call(2, get(0), is(1));
    accepts(&forge);
    forge.on_one_connection(&[a, b]);
    rejects(&forge, read);
    forge.told(read, is(2));
    accepts(&forge);
}

#[test]
fn a_read_is_not_stale() {
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        let a = f.ask(1, set(0, 2));
        f.call(2, get(0), is(2));
        let read = f.call(3, get(0), is(2));
        f.told(a, Done);
        read
    };
    tells_apart(build, is(1));
}

#[test]
fn a_deleted_key_stays_deleted() {
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        f.call(1, del(0), Int(1));
        f.call(2, get(0), Nil)
    };
    tells_apart(build, is(1));
}

#[test]
fn a_value_is_not_read_before_it_is_written() {
    let mut forge = Forge::default();
    let read = forge.call(2, get(0), is(1));
    forge.call(1, set(0, 1), Done);
    rejects(&forge, read);
}

#[test]
fn a_refused_write_has_no_effect() {
    let build = |f: &mut Forge| {
        let write = f.ask(1, set(0, 1));
        f.refused(write);
        f.call(2, get(0), Nil)
    };
    tells_apart(build, is(1));
}

#[test]
fn an_unknown_write_takes_effect_once_at_any_time_or_never() {
    let mut forge = Forge::default();
    forge.ask(1, incr(0));
    forge.call(2, get(0), Nil);
    accepts(&forge);
    forge.call(2, get(0), Answer::Val(Val::Int(1)));
    accepts(&forge);
    let twice = forge.call(2, get(0), Answer::Val(Val::Int(2)));
    rejects(&forge, twice);
}

#[test]
fn an_unknown_write_takes_no_effect_after_its_last_moment() {
    let mut forge = Forge::default();
    let write = forge.ask(1, set(0, 1));
    let meanwhile = forge.ask(2, get(0));
    forge.dead(write).told(meanwhile, Nil);
    accepts(&forge);
    let read = forge.call(2, get(0), Nil);
    let again = forge.call(2, get(0), is(1));
    rejects(&forge, again);
    forge.told(read, is(1));
    accepts(&forge);
}

#[test]
fn a_counter_counts_each_call() {
    let build = |f: &mut Forge| {
        f.call(1, incr(0), Int(1));
        let a = f.ask(1, incr(0));
        let b = f.call(2, incr(0), Int(3));
        f.told(a, Int(2));
        b
    };
    tells_apart(build, Int(4));
    let build = |f: &mut Forge| {
        f.call(1, incr(0), Int(1));
        f.call(2, incr(0), Int(2))
    };
    tells_apart(build, Int(1));
}

#[test]
fn no_append_is_lost() {
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        f.call(1, append(0, 2), Int(48));
        f.call(2, append(0, 3), Int(72));
        f.call(2, get(0), Answer::Val(ts(&[1, 2, 3])))
    };
    tells_apart(build, Answer::Val(ts(&[1, 3])));
    tells_apart(build, Answer::Val(ts(&[1, 3, 2])));
}

#[test]
fn a_batch_shows_whole() {
    let build = |f: &mut Forge| {
        f.call(1, mset(&[(0, 1), (1, 2)]), Done);
        let batch = f.ask(1, mset(&[(0, 3), (1, 4)]));
        let read = f.call(2, mget(&[0, 1]), are(&[3, 4]));
        f.told(batch, Done);
        read
    };
    tells_apart(build, are(&[3, 2]));
    tells_apart(build, are(&[1, 4]));
}

#[test]
fn a_transaction_shows_whole() {
    let build = |f: &mut Forge| {
        let steps = vec![set(0, 1), incr(2), set(1, 2)];
        let exec = f.ask(1, txn(&[], steps));
        let read = f.call(2, mget(&[0, 1]), are(&[0, 0]));
        f.told(exec, Answer::Each(vec![Done, Int(1), Done]));
        read
    };
    tells_apart(build, are(&[1, 0]));
}

#[test]
fn a_transaction_heeds_a_watched_change() {
    let mut forge = Forge::default();
    forge.call(1, set(0, 1), Done);
    forge.call(2, set(0, 2), Done);
    let exec = forge.call(1, txn(&[(0, 1)], vec![set(0, 3)]), Aborted);
    forge.call(2, get(0), is(2));
    accepts(&forge);
    forge.told(exec, Answer::Each(vec![Done]));
    rejects(&forge, exec);
}

#[test]
fn a_transaction_may_abort_for_nothing_but_then_does_nothing() {
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        f.call(1, txn(&[(0, 1)], vec![set(0, 3)]), Aborted);
        f.call(2, get(0), is(1))
    };
    tells_apart(build, is(3));
}

#[test]
fn a_condition_sees_what_is_there() {
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        f.call(2, set_with(0, 2, Ttl::None, When::Absent), Nil)
    };
    tells_apart(build, Done);
    let build = |f: &mut Forge| {
        f.call(1, set(0, 1), Done);
        f.call(2, set_with(0, 2, Ttl::None, When::Equal(t(1))), Done)
    };
    tells_apart(build, Nil);
}

#[test]
fn a_rename_takes_the_value_along() {
    let build = |f: &mut Forge| {
        f.call(1, mset(&[(0, 1), (1, 2)]), Done);
        f.call(1, Action::Rename(k(0), k(1)), Done);
        f.call(2, mget(&[0, 1]), are(&[0, 1]))
    };
    tells_apart(build, are(&[1, 1]));
    tells_apart(build, are(&[0, 2]));
}

#[test]
fn nothing_is_there_after_a_flush() {
    let build = |f: &mut Forge| {
        f.call(1, mset(&[(0, 1), (1, 2)]), Done);
        f.call(1, Action::Flush, Done);
        f.call(2, mget(&[0, 1]), are(&[0, 0]))
    };
    tells_apart(build, are(&[0, 2]));
}

#[test]
fn a_flush_is_of_every_group() {
    let mut forge = Forge::default();
    let far = Key { group: Group(7), number: 0 };
    let there = Action::Exists(vec![far]);
    forge.call(1, Action::MSet(vec![(far, t(1))]), Done);
    forge.call(1, set(0, 2), Done);
    forge.call(1, Action::Flush, Done);
    let read = forge.call(2, there, Int(0));
    accepts(&forge);
    forge.told(read, Int(1));
    let text = rejects(&forge, read);
    assert!(text.contains("group 7"), "{text}");
}

#[test]
fn a_key_is_there_until_its_time_and_not_after() {
    let mut forge = Forge::default();
    forge.clock(100).call(1, set_with(0, 1, Ttl::In(10), When::Always), Done);
    let early = forge.clock(109).call(2, get(0), is(1));
    let late = forge.clock(110).call(2, get(0), Nil);
    accepts(&forge);
    forge.told(late, is(1));
    rejects(&forge, late);
    forge.clock(109).told(early, Nil);
    rejects(&forge, early);
}

#[test]
fn between_two_clocks_a_key_may_have_expired_or_not() {
    let mut forge = Forge::default();
    forge.clock_within(100, 105).call(1, set_with(0, 1, Ttl::In(10), When::Always), Done);
    let first = forge.clock_within(105, 112).call(2, get(0), is(1));
    forge.call(2, get(0), Nil);
    accepts(&forge);
    let back = forge.call(2, get(0), is(1));
    rejects(&forge, back);
    forge.told(back, Nil).told(first, Nil);
    accepts(&forge);
}

#[test]
fn an_expired_value_does_not_come_back_with_a_slow_clock() {
    let mut forge = Forge::default();
    forge.clock(100).call(1, set_with(0, 1, Ttl::At(150), When::Always), Done);
    forge.clock(160).call(2, get(0), Nil);
    let read = forge.clock(120).call(2, get(0), Nil);
    accepts(&forge);
    forge.told(read, is(1));
    rejects(&forge, read);
}

#[test]
fn a_time_that_has_passed_deletes() {
    for past in
        [set_with(0, 2, Ttl::At(99), When::Always), set_with(0, 2, Ttl::At(100), When::Present)]
    {
        let build = |f: &mut Forge| {
            f.clock(100).call(1, set(0, 1), Done);
            f.call(1, past.clone(), Done);
            f.call(2, get(0), Nil)
        };
        tells_apart(build, is(1));
        tells_apart(build, is(2));
    }
    let build = |f: &mut Forge| {
        f.clock(100).call(1, set(0, 1), Done);
        f.call(1, Action::Expire(k(0), Ttl::At(3)), Int(1));
        f.call(1, Action::Expire(k(0), Ttl::At(300)), Int(0))
    };
    tells_apart(build, Int(1));
}

#[test]
fn a_transaction_has_one_clock() {
    let both = |a, b| Answer::Each(vec![a, b]);
    let build = |f: &mut Forge| {
        f.clock(1).call(1, set_with(0, 1, Ttl::At(50), When::Always), Done);
        f.call(1, set_with(1, 2, Ttl::At(50), When::Always), Done);
        f.clock_within(40, 60).call(2, txn(&[], vec![get(0), get(1)]), both(is(1), is(2)))
    };
    tells_apart(build, both(is(1), Nil));
}

#[test]
fn what_was_durable_survives_a_loss() {
    let mut forge = Forge::default();
    forge.call(1, set(0, 1), Done);
    let durable = forge.now();
    forge.call(1, set(0, 2), Done);
    forge.loss(Left::Prefix(durable));
    let read = forge.call(2, get(0), is(1));
    accepts(&forge);
    forge.told(read, is(2));
    accepts(&forge);
    forge.told(read, Nil);
    rejects(&forge, read);
}

#[test]
fn a_loss_takes_the_end_and_nothing_before_it() {
    let mut forge = Forge::default();
    let durable = forge.now();
    forge.call(1, set(0, 1), Done);
    forge.call(1, set(1, 2), Done);
    forge.call(1, set(2, 3), Done);
    forge.loss(Left::Prefix(durable));
    let read = forge.ask(2, mget(&[0, 1, 2]));
    for left in [[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 2, 3]] {
        forge.told(read, are(&left));
        accepts(&forge);
    }
    for left in [[0, 2, 0], [0, 0, 3], [1, 0, 3], [0, 2, 3]] {
        forge.told(read, are(&left));
        rejects(&forge, read);
    }
}

#[test]
fn after_a_loss_it_stays_lost() {
    let mut forge = Forge::default();
    let durable = forge.now();
    forge.call(1, set(0, 1), Done);
    forge.loss(Left::Prefix(durable));
    forge.call(2, get(0), Nil);
    let read = forge.call(2, get(0), Nil);
    accepts(&forge);
    forge.told(read, is(1));
    rejects(&forge, read);
}

#[test]
fn a_second_loss_goes_back_no_further_than_its_own_mark() {
    let mut forge = Forge::default();
    let durable = forge.now();
    forge.call(1, set(0, 1), Done);
    forge.loss(Left::Prefix(durable));
    forge.call(1, get(0), is(1));
    let durable = forge.now();
    forge.call(1, set(0, 2), Done);
    forge.loss(Left::Prefix(durable));
    let read = forge.call(2, get(0), is(1));
    accepts(&forge);
    forge.told(read, Nil);
    rejects(&forge, read);
}

#[test]
fn an_empty_disk_is_empty() {
    let mut forge = Forge::default();
    forge.call(1, set(0, 1), Done);
    forge.loss(Left::Nothing);
    let read = forge.call(2, get(0), Nil);
    accepts(&forge);
    forge.told(read, is(1));
    rejects(&forge, read);
}

#[test]
fn the_text_tells_the_story() {
    let mut forge = Forge::default();
    forge.call(1, set(0, 1), Done);
    let write = forge.ask(1, set(0, 2));
    let read = forge.call(2, get(0), Nil);
    forge.told(write, Done);
    let text = rejects(&forge, read);
    assert_eq!(
        text,
        "no order of the calls on group 0 up to 5 explains\n  \
           c2 GET {g0}0 → nil [4..5]\n\
         when the keys were\n  \
           0=t1\n  \
           0=t2\n\
         with, at the same time,\n  \
           c1 SET {g0}0 t2 → OK [3..6]\n\
         and before that\n  \
           c1 SET {g0}0 t1 → OK [1..2]"
    );
}

#[test]
fn a_dozen_unknown_writes_are_decided() {
    let mut forge = Forge::default();
    for id in 0..12 {
        forge.ask(id, set((id % 3) as u8, 1000 + id));
        for client in 100..103 {
            forge.call(client, mset(&[(0, client), (1, client), (2, client)]), Done);
        }
    }
    let read = forge.call(1, mget(&[0, 1, 2]), are(&[1000, 1004, 1002]));
    accepts(&forge);
    forge.told(read, are(&[1000, 1003, 1002]));
    rejects(&forge, read);
}

#[test]
fn a_search_of_too_much_is_given_up() {
    let mut forge = Forge::default();
    for client in 0..30 {
        forge.ask(client, append(0, client));
    }
    let read = forge.call(1000, get(1), is(1));
    let calls: Vec<usize> = (0..=read).collect();
    let (ops, _) = operations(forge.history(), Group(0), &calls);
    assert_eq!(search(&ops, 100_000), Found::Undecided);
}
