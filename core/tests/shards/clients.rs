//! What clients write and read, and what that says of the store.
//!
//! Each key has one writer, whose writes are numbered, and any number of readers. A read that begins after
//! a write was acknowledged, or after another read has ended, sees that one or a later one. A write that
//! was refused is seen by nobody. What is not known may be seen from then on, in its place.

use std::collections::BTreeMap;

use kvnode_core::ClientId;
use kvnode_core::reply::Reply;

pub(crate) const KEYS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    UnderWay,
    Acknowledged,
    Refused,
    Unknown,
}

/// A write of one key.
#[derive(Clone, Copy, Debug)]
struct Write {
    puts: bool,
    fate: Fate,
}

/// What is known of one key: its writes from number 1 on, and the last of these that everybody sees.
#[derive(Default)]
struct Key {
    writes: Vec<Write>,
    floor: usize,
}

enum Asked {
    /// These numbers of these keys.
    Writes(Vec<(usize, usize)>),
    /// The key, and its floor then.
    Read(usize, usize),
}

#[derive(Default)]
pub(crate) struct Clients {
    keys: [Key; KEYS],
    /// By node and client.
    asked: BTreeMap<(usize, ClientId), Asked>,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) reads: u64,
}

fn name(key: usize) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

impl Clients {
    pub(crate) fn is_idle(&self, node: usize, client: ClientId) -> bool {
        !self.asked.contains_key(&(node, client))
    }

    pub(crate) fn are_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// A command that writes these keys, of those that nobody is writing; each is put or deleted.
    pub(crate) fn write(
        &mut self,
        at: (usize, ClientId),
        keys: &[usize],
        puts: bool,
        bytes: usize,
    ) -> Option<Vec<Vec<u8>>> {
        let is_free = |&&key: &&usize| {
            self.keys[key].writes.last().is_none_or(|write| write.fate != Fate::UnderWay)
        };
        let keys: Vec<usize> = keys.iter().filter(is_free).copied().collect();
        if keys.is_empty() {
            return None;
        }
        let mut command = vec![if puts { b"MSET".to_vec() } else { b"DEL".to_vec() }];
        let mut numbers = Vec::new();
        for key in keys {
            self.keys[key].writes.push(Write { puts, fate: Fate::UnderWay });
            let number = self.keys[key].writes.len();
            numbers.push((key, number));
            command.push(name(key));
            if puts {
                command.push(format!("{number}:{}", "x".repeat(bytes)).into_bytes());
            }
        }
        self.asked.insert(at, Asked::Writes(numbers));
        Some(command)
    }

    pub(crate) fn read(&mut self, at: (usize, ClientId), key: usize) -> Vec<Vec<u8>> {
        self.asked.insert(at, Asked::Read(key, self.keys[key].floor));
        vec![b"GET".to_vec(), name(key)]
    }

    /// The node's process is gone.
    pub(crate) fn lost(&mut self, node: usize) {
        let lost: Vec<_> = self.asked.keys().filter(|(at, _)| *at == node).copied().collect();
        for at in lost {
            if let Some(Asked::Writes(numbers)) = self.asked.remove(&at) {
                self.settle(&numbers, Fate::Unknown);
            }
        }
    }

    /// What was acknowledged may be lost, as the map says.
    pub(crate) fn give_up(&mut self) {
        self.keys.iter_mut().for_each(|key| key.floor = 0);
        for asked in self.asked.values_mut() {
            if let Asked::Read(_, floor) = asked {
                *floor = 0;
            }
        }
    }

    pub(crate) fn told(&mut self, at: (usize, ClientId), reply: &Reply) {
        match self.asked.remove(&at).expect("it was asked") {
            Asked::Writes(numbers) => {
                let fate = match reply {
                    Reply::Error(text) if text.starts_with("UNKNOWN ") => Fate::Unknown,
                    Reply::Error(_) => Fate::Refused,
                    _ => Fate::Acknowledged,
                };
                self.settle(&numbers, fate);
            }
            Asked::Read(key, floor) => match reply {
                Reply::Error(_) => {}
                Reply::Null => self.sees(key, floor, None),
                Reply::Bulk(value) => {
                    let text = std::str::from_utf8(value).unwrap();
                    let number = text.split_once(':').unwrap().0.parse().unwrap();
                    self.sees(key, floor, Some(number));
                }
                other => panic!("{other:?}"),
            },
        }
    }

    fn settle(&mut self, numbers: &[(usize, usize)], fate: Fate) {
        match fate {
            Fate::Acknowledged => self.acknowledged += 1,
            Fate::Refused => self.refused += 1,
            Fate::Unknown | Fate::UnderWay => self.unknown += 1,
        }
        for &(key, number) in numbers {
            let key = &mut self.keys[key];
            key.writes[number - 1].fate = fate;
            if fate == Fate::Acknowledged {
                key.floor = key.floor.max(number);
            }
        }
    }

    /// Somebody reads it, who has asked when that was the floor.
    fn sees(&mut self, key: usize, floor: usize, value: Option<usize>) {
        self.reads += 1;
        let known = &mut self.keys[key];
        let may = |number: usize| known.writes[number - 1].fate != Fate::Refused;
        let seen = match value {
            Some(number) => {
                let is_put = known.writes.get(number - 1).is_some_and(|write| write.puts);
                (is_put && number >= floor && may(number)).then_some(number)
            }
            None if floor == 0 => Some(0),
            None => (floor..=known.writes.len())
                .find(|&number| !known.writes[number - 1].puts && may(number)),
        };
        let Some(seen) = seen else {
            let from = floor.saturating_sub(3).max(1);
            let writes: Vec<_> = (from..).zip(&known.writes[from - 1..]).collect();
            panic!("key:{key} is read as {value:?}, and {floor} was there before: {writes:?}");
        };
        known.floor = known.floor.max(seen);
    }
}
