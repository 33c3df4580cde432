//! Values that are kept once and known by a number: for the searches of all states.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::FixedState;

/// A hash table that is the same in every run.
pub(crate) type Table<K, V> = HashMap<K, V, FixedState>;

/// See the module's header.
pub(crate) struct Interned<T> {
    pub(crate) all: Vec<T>,
    numbers: Table<T, u32>,
}

impl<T: Clone + Eq + Hash> Interned<T> {
    pub(crate) fn new() -> Self {
        Self { all: Vec::new(), numbers: Table::with_hasher(FixedState::with_seed(1)) }
    }

    pub(crate) fn number(&mut self, value: T) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        let number = u32::try_from(self.all.len()).expect("few enough to count");
        self.all.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> &T {
        &self.all[number as usize]
    }
}
