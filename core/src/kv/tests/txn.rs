//! A transaction agrees with a map that is simply changed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::world::MapView;
use crate::Value;
use crate::kv::{Changes, Item, Op, Txn};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Flush,
    /// A command starts: what was done is kept.
    Mark,
    /// The command fails.
    Undo,
    Look(u8),
    Count,
    List,
    Scan,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..40_u8, any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
        6 => (0..40_u8).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        4 => Just(Step::Mark),
        3 => Just(Step::Undo),
        4 => (0..40_u8).prop_map(Step::Look),
        2 => Just(Step::Count),
        1 => Just(Step::List),
        1 => Just(Step::Scan),
    ];
    prop::collection::vec(step, 0..120)
}

fn key(n: u8) -> Vec<u8> {
    format!("k{n}").into_bytes()
}

fn item(n: u8) -> Item {
    Item { value: Value::copy_from(&vec![n; usize::from(n % 7)]), expire_at: None }
}

proptest! {
    #[test]
    fn it_shows_what_was_done(before in prop::collection::btree_set(0..40_u8, 0..40), steps in steps())
    {
        let mut view = MapView::default();
        view.items = before.iter().map(|&n| (key(n), item(n))).collect();
        let mut model: BTreeMap<_, _> = view.items.clone();
        let mut kept = model.clone();
        let mut changes = Changes::default();
        let mut txn = Txn::new(&mut view, &mut changes);
        for step in steps {
            match step {
                Step::Put(k, v) => {
                    txn.put(&key(k), item(v).value, None).unwrap();
                    model.insert(key(k), item(v));
                }
                Step::Delete(k) => {
                    let existed = model.remove(&key(k)).is_some();
                    prop_assert_eq!(txn.delete(&key(k)).unwrap(), existed);
                }
                Step::Flush => {
                    txn.flush().unwrap();
                    txn.mark();
                    model.clear();
                    kept.clear();
                }
                Step::Mark => {
                    txn.mark();
                    kept = model.clone();
                }
                Step::Undo => {
                    txn.undo();
                    model = kept.clone();
                }
                Step::Look(k) => {
                    let expected = model.get(&key(k)).cloned();
                    let len = expected.as_ref().map(|item| item.value.len());
                    prop_assert_eq!(txn.meta(&key(k)).unwrap().map(|meta| meta.value_len), len);
                    prop_assert_eq!(txn.item(&key(k)).unwrap(), expected);
                }
                Step::Count => prop_assert_eq!(txn.len().unwrap(), model.len()),
                Step::List => {
                    let mut listed = Vec::new();
                    txn.for_each_key(b"k1", &mut |key| listed.push(key.to_vec())).unwrap();
                    listed.sort();
                    let expected = model.keys().filter(|key| key.starts_with(b"k1"));
                    prop_assert_eq!(listed, expected.cloned().collect::<Vec<_>>());
                    let random = txn.random_key().unwrap();
                    prop_assert!(random.map_or(model.is_empty(), |k| model.contains_key(&*k)));
                }
                Step::Scan => {
                    let (mut cursor, mut found) = (0, BTreeSet::new());
                    loop {
                        let mut note = |key: &[u8]| { found.insert(key.to_vec()); };
                        cursor = txn.scan(cursor, 3, b"", &mut note).unwrap();
                        if cursor == 0 { break; }
                    }
                    prop_assert_eq!(found, model.keys().cloned().collect());
                }
            }
        }
        changes.check();
        view.apply(&mut changes);
        prop_assert_eq!(view.items, model);
    }
}

#[test]
fn a_blind_write_reads_nothing() {
    let mut world = super::world::World::new();
    for command in ["SET k v", "SET k v EX 10", "MSET a 1 b 2 c 3", "SETEX k 10 v"] {
        assert_eq!(world.run(command), "+OK");
        assert_eq!(world.view.asked, 0, "{command}");
    }
}

#[test]
fn deleting_what_is_not_there_changes_nothing() {
    let (mut view, mut changes) = (MapView::default(), Changes::default());
    assert!(!Txn::new(&mut view, &mut changes).delete(b"k").unwrap());
    Txn::new(&mut view, &mut changes).flush().unwrap();
    assert!(changes.is_empty());
}

#[test]
fn each_key_is_logged_once_in_the_order_of_its_first_change() {
    let mut world = super::world::World::new();
    let args: [&[u8]; 7] = [b"mset", b"b", b"1", b"a", b"2", b"b", b"3"];
    crate::kv::evaluate(&mut world.session, &args, &mut world.view, &mut world.changes).unwrap();
    let put = |value: &[u8]| Op::Put { value: Value::copy_from(value), expire_at: None };
    let expected = [(Value::from(&b"b"[..]), put(b"3")), (Value::from(&b"a"[..]), put(b"2"))];
    assert_eq!(world.changes.ops(), expected);
}

#[test]
fn many_changes_are_not_found_one_by_one() {
    let (mut view, mut changes) = (MapView::default(), Changes::default());
    let mut txn = Txn::new(&mut view, &mut changes);
    for round in 0..2_u8 {
        for n in 0..100_000_u32 {
            txn.put(&n.to_be_bytes(), Value::copy_from(&[round]), None).unwrap();
        }
    }
    assert_eq!(txn.len().unwrap(), 100_000);
    assert_eq!(changes.ops().len(), 100_000);
}
