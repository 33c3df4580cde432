use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, Entry>;

const KINDS: [IndexKind; 2] = [IndexKind::Hash, IndexKind::Ordered];

impl Keydir {
    fn check(&self) {
        either!(self, index => index.check());
    }

    fn contents(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Entry)> {
        let mut all = Vec::new();
        self.for_each(prefix, &mut |key, entry| all.push((key.to_vec(), entry)));
        all
    }
}

fn entry(n: u32) -> Entry {
    let place = Place { segment: SegmentId(n >> 12), position: n.wrapping_mul(100), length: 100 };
    Entry { place, expire_at: None }
}

fn numbered(n: u32) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

/// Iterates to the end, letting `meanwhile` change the index between two steps.
fn scan_all(
    index: &mut Keydir,
    count: usize,
    prefix: &[u8],
    mut meanwhile: impl FnMut(&mut Keydir),
) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut cursor = 0;
    for _ in 0..1_000_000 {
        cursor = index.scan(cursor, count, prefix, &mut |key, _| seen.push(key.to_vec()));
        assert!(cursor >> CURSOR_BITS == 0);
        if cursor == 0 {
            return seen;
        }
        meanwhile(index);
    }
    panic!("the scan does not end");
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>, Entry),
    Remove(Vec<u8>),
    Relocate(Vec<u8>, bool, SegmentId, u32),
    Scan(usize, Vec<u8>),
    Sweep(usize),
    Random(u64),
    Clear,
}

/// Few enough keys that operations meet, of every width.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        30 => 0..20usize,
        4 => Just(254usize),
        4 => 255..=256usize,
        2 => 257..1_000usize,
        1 => Just(65_535usize),
    ];
    (length, 0..6u8, any::<bool>()).prop_map(|(length, last, other)| {
        let mut key = alloc::vec![if other { 0xFF } else { b'k' }; length];
        if let Some(end) = key.last_mut() {
            *end = last;
        }
        key
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let length = prop_oneof![
        Just(0),
        Just(0xFFFF),
        Just(0x1_0000),
        Just(0xFF_FFFF),
        Just(0x100_0000),
        Just(u32::MAX),
        any::<u32>(),
    ];
    let expire_at = prop_oneof![
        Just(None),
        Just(Some(0)),
        Just(Some((1 << 48) - 1)),
        Just(Some(1 << 48)),
        Just(Some(u64::MAX)),
    ];
    (0..=SEGMENT_ID_MAX.0, any::<u32>(), length, expire_at).prop_map(
        |(segment, position, length, expire_at)| Entry {
            place: Place { segment: SegmentId(segment), position, length },
            expire_at,
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (any_key(), any_entry()).prop_map(|(key, entry)| Op::Insert(key, entry)),
        10 => any_key().prop_map(Op::Remove),
        5 => (any_key(), any::<bool>(), 0..=SEGMENT_ID_MAX.0, any::<u32>())
            .prop_map(|(key, hit, segment, at)| Op::Relocate(key, hit, SegmentId(segment), at)),
        2 => (0..20usize, prop_oneof![Just(Vec::new()), Just(b"kk".to_vec()), Just([0xFF].into())])
            .prop_map(|(count, prefix)| Op::Scan(count, prefix)),
        2 => (1..10usize).prop_map(Op::Sweep),
        2 => any::<u64>().prop_map(Op::Random),
        1 => Just(Op::Clear),
    ]
}

fn apply(index: &mut Keydir, model: &mut Model, op: &Op) {
    match op {
        Op::Insert(key, entry) => {
            assert_eq!(index.insert(key, *entry), Ok(model.insert(key.clone(), *entry)));
            assert_eq!(index.get(key), Some(*entry));
        }
        Op::Remove(key) => {
            assert_eq!(index.remove(key), model.remove(key));
            assert_eq!(index.get(key), None);
        }
        Op::Relocate(key, hit, segment, position) => {
            let place = model.get(key).map_or(entry(0).place, |entry| entry.place);
            let from = (place.segment, place.position ^ u32::from(!hit));
            let to = Place { segment: *segment, position: *position, length: place.length };
            let moves = *hit && model.contains_key(key);
            assert_eq!(index.relocate(key, from, to), moves);
            if moves {
                model.get_mut(key).unwrap().place = to;
            }
            assert_eq!(index.get(key), model.get(key).copied());
        }
        Op::Scan(count, prefix) => {
            let mut seen = scan_all(index, *count, prefix, |_| {});
            let matching = model.keys().filter(|key| key.starts_with(prefix));
            seen.sort();
            assert!(seen.iter().eq(matching), "an undisturbed scan sees each key once");
        }
        Op::Sweep(count) => {
            index.sweep(*count, &mut |key, entry| {
                assert!(entry.expire_at.is_some() && model[key] == entry);
            });
        }
        Op::Random(r) => match index.random(*r) {
            Some((key, entry)) => assert_eq!(model[key], entry),
            None => assert!(model.is_empty()),
        },
        Op::Clear => {
            index.clear();
            model.clear();
        }
    }
    assert_eq!(index.len(), model.len());
    assert_eq!(index.is_empty(), model.is_empty());
    let expiring = model.values().filter(|entry| entry.expire_at.is_some()).count();
    assert_eq!(index.expiring(), expiring);
}

proptest! {
    #[test]
    fn any_operations_agree_with_a_map(
        seed: u64,
        ops in prop::collection::vec(any_op(), 1..300),
    ) {
        for kind in KINDS {
            let mut index = Keydir::new(kind, seed);
            let mut model = Model::new();
            for op in &ops {
                apply(&mut index, &mut model, op);
            }
            index.check();
            let mut contents = index.contents(b"");
            if kind == IndexKind::Hash {
                contents.sort_by(|a, b| a.0.cmp(&b.0));
            }
            prop_assert!(contents.into_iter().eq(model), "{kind:?}");
        }
    }

    #[test]
    fn a_scan_misses_no_key_that_stays(
        seed: u64,
        stay in 0..300u32,
        begin in 0..3_000u32,
        count in 1..40usize,
        with_prefix: bool,
        targets in prop::collection::vec(0..3_000u32, 1..60),
    ) {
        for kind in KINDS {
            let mut index = Keydir::new(kind, seed);
            let staying: Vec<_> = (0..stay).map(|n| numbered(n * 7)).collect();
            for key in &staying {
                index.insert(key, entry(0)).unwrap();
            }
            // The others come and go: the table swings between the targets while it is scanned.
            let mut others = 0;
            let mut swing = |index: &mut Keydir, to: u32| {
                while others < to {
                    index.insert(format!("key:x{others}").as_bytes(), entry(0)).unwrap();
                    others += 1;
                }
                while others > to {
                    others -= 1;
                    index.remove(format!("key:x{others}").as_bytes()).unwrap();
                }
            };
            swing(&mut index, begin);
            let mut targets = targets.iter();
            let prefix: &[u8] = if with_prefix { b"key:0" } else { b"" };
            let seen: BTreeSet<_> = scan_all(&mut index, count, prefix, |index| {
                if let Some(&to) = targets.next() {
                    swing(index, to);
                }
            })
            .into_iter()
            .collect();
            for key in &staying {
                prop_assert!(seen.contains(key), "{kind:?} missed {}", key.escape_ascii());
            }
            prop_assert!(!with_prefix || seen.len() == staying.len());
            index.check();
        }
    }
}

#[test]
fn a_key_costs_at_most_24_bytes_more_than_itself() {
    for key_length in 13..=20 {
        let mut index = Keydir::new(IndexKind::Hash, 1);
        let mut worst = 0.0f64;
        for n in 0..200_000 {
            let key = format!("{n:0key_length$}");
            index.insert(key.as_bytes(), entry(n)).unwrap();
            // From here on the slack of the last chunks is spread thin enough. 131,072 is the
            // table's size right before and after a level of splits is complete.
            if n > 100_000 && (n % 1_000 == 0 || n.abs_diff(131_072) < 3) {
                let beyond = index.memory_bytes() as f64 / f64::from(n + 1) - key_length as f64;
                worst = worst.max(beyond);
            }
        }
        assert!(worst <= 24.0, "{key_length}-byte keys: {worst:.2} bytes beyond the key");
        index.check();
    }
}

#[test]
fn an_index_of_few_keys_is_small() {
    let mut index = Keydir::new(IndexKind::Hash, 1);
    assert!(index.memory_bytes() < 512);
    for n in 0..100 {
        index.insert(&numbered(n), entry(n)).unwrap();
    }
    assert!(index.memory_bytes() < 8 << 10);
}

#[test]
fn updates_of_changing_size_reuse_what_they_leave() {
    let mut index = Keydir::new(IndexKind::Hash, 1);
    let mut peak = 0;
    for round in 0..60u32 {
        for n in 0..20_000 {
            let mut entry = entry(n);
            entry.expire_at = [None, Some(1), Some(u64::MAX)][((round ^ (n * round)) % 3) as usize];
            entry.place.length = [1, 1 << 17, 1 << 25][((round * n) % 5 % 3) as usize];
            index.insert(&numbered(n), entry).unwrap();
            peak = peak.max(index.memory_bytes());
        }
    }
    index.check();
    // At the widest an entry has 44 bytes; an eighth of holes, the leaving chunk, the current one,
    // the least waste that is cared about.
    let bound = 20_000 * (44 + 8) * 8 / 7 + (4 << 18);
    assert!(peak <= bound, "{peak} bytes at the peak, {bound} allowed");
}

#[test]
fn keys_of_ever_other_lengths_reuse_what_they_leave() {
    let mut index = Keydir::new(IndexKind::Hash, 1);
    let mut model = Model::new();
    let mut peak = 0;
    // Each generation has longer keys, so that no hole that one leaves fits the next.
    for generation in 0..40u32 {
        for n in 0..2_000 {
            let length = (30 + 25 * generation) as usize;
            let key = format!("{:0length$}", n + 2_000 * generation).into_bytes();
            index.insert(&key, entry(n)).unwrap();
            model.insert(key, entry(n));
            if let Some(old) = generation.checked_sub(1) {
                let length = (30 + 25 * old) as usize;
                let key = format!("{:0length$}", n + 2_000 * old).into_bytes();
                assert_eq!(index.remove(&key), model.remove(&key));
            }
            peak = peak.max(index.memory_bytes());
        }
        index.check();
    }
    assert!(model.iter().all(|(key, entry)| index.get(key) == Some(*entry)));
    let live = 2_000 * (30 + 25 * 39 + 24);
    assert!(peak <= live * 8 / 7 + (4 << 18), "{peak} bytes for {live} live");
}

#[test]
fn an_emptied_index_gives_memory_back() {
    let mut index = Keydir::new(IndexKind::Hash, 1);
    for n in 0..100_000 {
        index.insert(&numbered(n), entry(n)).unwrap();
    }
    let full = index.memory_bytes();
    // In an order that leaves holes everywhere, also in the chunk that is being emptied.
    let scattered = |n: u32| numbered(n * 7_919 % 100_000);
    for n in 0..90_000 {
        index.remove(&scattered(n)).unwrap();
    }
    index.check();
    assert!(index.memory_bytes() < full / 3, "{} of {full}", index.memory_bytes());
    assert!((90_000..100_000).all(|n| index.get(&scattered(n)).is_some()));
}

#[test]
fn a_full_arena_refuses_and_changes_nothing() {
    for ordered in [false, true] {
        let hash = HashKeydir::with_chunks_max(1, 6);
        let mut index =
            if ordered { Keydir::Ordered(OrderedKeydir::over(hash)) } else { Keydir::Hash(hash) };
        let fits = (0..).find(|&n| index.insert(&numbered(n), entry(n)).is_err()).unwrap();
        assert!((45_000..50_000).contains(&fits), "{fits} keys in six chunks");
        let all = index.contents(b"");
        let longer = Entry { expire_at: Some(1), ..entry(1) };
        assert_eq!(index.insert(&numbered(1), longer), Err(Full));
        assert_eq!(index.insert(&numbered(fits), entry(0)), Err(Full));
        index.check();
        assert_eq!(index.contents(b""), all);
        assert_eq!((index.len(), index.expiring()), (fits as usize, 0));
        // An update in place still works, and a remove makes room for its like.
        assert_eq!(index.insert(&numbered(1), entry(2)), Ok(Some(entry(1))));
        assert_eq!(index.remove(&numbered(2)), Some(entry(2)));
        assert_eq!(index.insert(&numbered(fits), entry(fits)), Ok(None));
        // Removes make room for others too, once chunks have been emptied.
        for n in 3..fits {
            index.remove(&numbered(n)).unwrap();
        }
        for n in 0..100u8 {
            index.insert(&alloc::vec![n; 5_000], entry(0)).unwrap();
        }
        index.check();
    }
}

#[test]
fn equal_seeds_and_operations_give_equal_order() {
    for kind in KINDS {
        let run = |seed| {
            let mut index = Keydir::new(kind, seed);
            for n in 0..5_000 {
                index.insert(&numbered(n), entry(n)).unwrap();
                if n % 3 == 0 {
                    index.remove(&numbered(n / 2));
                }
            }
            let drawn: Vec<_> =
                (0..100).map(|r| index.random(r).map(|(key, _)| key.to_vec())).collect();
            (scan_all(&mut index, 10, b"", |_| {}), drawn, index.memory_bytes())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).0, run(2).0);
    }
}

#[test]
fn every_key_is_drawn_about_equally_often() {
    let mut index = Keydir::new(IndexKind::Hash, 1);
    for n in 0..3_000 {
        index.insert(&numbered(n), entry(n)).unwrap();
    }
    // Fewer keys than buckets, and a level of splits that is not complete.
    for n in 1_200..3_000 {
        index.remove(&numbered(n));
    }
    let mut drawn = BTreeMap::new();
    for r in 0..120_000 {
        *drawn.entry(index.random(r).unwrap().0.to_vec()).or_insert(0) += 1;
    }
    assert_eq!(drawn.len(), 1_200);
    assert!(drawn.values().all(|times| (50..150).contains(times)), "{drawn:?}");
}

#[test]
fn a_sweep_reaches_every_key_that_expires() {
    for kind in KINDS {
        let mut index = Keydir::new(kind, 1);
        let mut rest = BTreeSet::new();
        for n in 0..10_000 {
            let expire_at = (n % 10 == 0).then_some(u64::from(n));
            index.insert(&numbered(n), Entry { expire_at, ..entry(n) }).unwrap();
            rest.extend(expire_at.map(|_| numbered(n)));
        }
        for _ in 0..2_000 {
            let mut due = Vec::new();
            index.sweep(20, &mut |key, _| due.push(key.to_vec()));
            assert!(due.len() < 100, "a step is bounded");
            for key in due {
                index.remove(&key).unwrap();
                assert!(rest.remove(&key));
            }
        }
        assert!(rest.is_empty() && index.expiring() == 0, "{kind:?}: {} left", rest.len());
    }
}

#[test]
fn a_scan_step_is_bounded_however_few_keys_match() {
    let mut index = Keydir::new(IndexKind::Hash, 1);
    for n in 0..10_000 {
        index.insert(&numbered(n), entry(n)).unwrap();
    }
    let mut steps = 0;
    let seen = scan_all(&mut index, 10, b"key:000000000001", |_| steps += 1);
    assert_eq!(seen, [numbered(1)]);
    assert!(steps > 10_000 / 20, "{steps} steps for 10,000 keys by ten");
    let mut visited = 0;
    index.scan(0, usize::MAX, b"", &mut |_, _| visited += 1);
    assert_eq!(visited, 10_000);
}

#[test]
fn an_ordered_scan_with_a_prefix_goes_in_order() {
    let mut index = Keydir::new(IndexKind::Ordered, 1);
    for key in ["a", "b", "b:", "b:1", "b:10", "b:2", "b;", "c"] {
        index.insert(key.as_bytes(), entry(0)).unwrap();
    }
    index.insert(&[0xFF, 0xFF], entry(0)).unwrap();
    index.insert(&[0xFF, 0xFF, 0], entry(0)).unwrap();
    for count in 0..5 {
        assert_eq!(
            scan_all(&mut index, count, b"b:", |_| {}),
            [&b"b:"[..], b"b:1", b"b:10", b"b:2"]
        );
        assert_eq!(
            scan_all(&mut index, count, &[0xFF, 0xFF], |_| {}),
            [&[0xFF, 0xFF][..], &[0xFF, 0xFF, 0]]
        );
    }
    let mut two = Vec::new();
    assert_ne!(index.scan(0, 2, b"b:", &mut |key, _| two.push(key.to_vec())), 0);
    assert_eq!(two, [&b"b:"[..], b"b:1"]);
    assert_eq!(index.scan(0, 4, b"b:", &mut |_, _| {}), 0, "the last key ends the scan");
}

/// An ordered index of so many keys, which have a prefix in common.
fn ordered(keys: u32) -> Keydir {
    let mut index = Keydir::new(IndexKind::Ordered, 1);
    for n in 0..keys {
        index.insert(&numbered(n), entry(n)).unwrap();
    }
    index
}

/// One step, by four keys: what it sees, and the cursor behind it.
fn four(index: &mut Keydir, cursor: u64) -> (Vec<Vec<u8>>, u64) {
    let mut seen = Vec::new();
    let next = index.scan(cursor, 4, b"key:", &mut |key, _| seen.push(key.to_vec()));
    (seen, next)
}

#[test]
fn an_ordered_scan_whose_cursor_was_evicted_starts_again() {
    let mut index = ordered(10);
    let (_, kept) = four(&mut index, 0);
    let (_, evicted) = four(&mut index, 0);
    let (seen, kept) = four(&mut index, kept);
    assert_eq!(seen[0], numbered(4));
    for _ in 0..RESUME_KEYS_MAX - 1 {
        four(&mut index, 0);
    }
    index.check();
    let (seen, end) = four(&mut index, kept);
    assert_eq!((&seen[0], end), (&numbered(8), 0));
    assert_eq!(four(&mut index, evicted).0[0], numbered(0));
}

#[test]
fn an_ordered_scan_may_be_called_again_and_what_it_used_goes_first() {
    let mut index = ordered(8);
    let (_, waiting) = four(&mut index, 0);
    let (_, used) = four(&mut index, 0);
    let (once, _) = four(&mut index, used);
    let (again, _) = four(&mut index, used);
    assert_eq!((&once[0], &once), (&numbered(4), &again), "as if it had been evaluated anew");
    // Each of these leaves a used one behind.
    for _ in 0..2 * RESUME_KEYS_MAX {
        let (_, next) = four(&mut index, 0);
        four(&mut index, next);
    }
    index.check();
    assert_eq!(four(&mut index, waiting).0, once, "it was not used yet");
    assert_eq!(four(&mut index, used).0[0], numbered(0));
}

#[test]
fn the_cursor_of_a_call_stays_however_many_nobody_comes_back_with() {
    let mut index = ordered(12);
    for _ in 0..2 * RESUME_KEYS_MAX {
        let (_, cursor) = four(&mut index, 0);
        for _ in 0..3 {
            let (seen, next) = four(&mut index, cursor);
            assert!(seen[0] == numbered(4) && next != 0);
        }
    }
    index.check();
}

#[test]
#[should_panic(expected = "s16777216 does not fit the keydir")]
fn a_segment_id_of_more_than_three_bytes_is_refused() {
    let place = Place { segment: SegmentId(SEGMENT_ID_MAX.0 + 1), ..entry(0).place };
    let _ = Keydir::new(IndexKind::Hash, 1).insert(b"k", Entry { place, expire_at: None });
}
