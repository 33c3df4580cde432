//! LCS: the longest common subsequence of two strings.

use alloc::vec;
use alloc::vec::Vec;

use super::number::integer;
use super::strings::length;
use super::txn::for_all;
use super::{Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::Reply;

pub(super) fn lcs(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let answer = Answer::parse(&args[3..])?;
    // Their lengths tell whether it can be done before they are read.
    let lens =
        for_all(args[1..3].iter(), |key| Ok(txn.meta(key)?.map_or(0, |meta| meta.value_len)))?;
    let cells = (lens[0] + 1).checked_mul(lens[1] + 1);
    if cells.is_none_or(|cells| cells > VALUE_BYTES_MAX / size_of::<u32>()) {
        return Err(Stop::error(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let values = for_all(args[1..3].iter(), |key| {
        Ok(txn.item(key)?.map_or_else(Value::empty, |item| item.value))
    })?;
    let table = Table::new(&values[0], &values[1]);
    let len = length(table.len() as usize);
    Ok(match answer {
        Answer::Len => len,
        Answer::Text => Reply::bulk(&table.text()),
        Answer::Ranges { least, with_len } => {
            let matches = table.matches().filter(|found| found.len as i64 >= least);
            let matches = Reply::Array(matches.map(|found| found.reply(with_len)).collect());
            Reply::Map(vec![(Reply::bulk(b"matches"), matches), (Reply::bulk(b"len"), len)])
        }
    })
}

/// What LCS is asked for.
enum Answer {
    /// The subsequence.
    Text,
    /// Its length.
    Len,
    /// Where its pieces are in both strings.
    Ranges {
        /// Shorter pieces are left out.
        least: i64,
        /// Each piece comes with its length.
        with_len: bool,
    },
}

impl Answer {
    fn parse(mut words: Args<'_>) -> Result<Self, Stop> {
        let (mut len, mut ranges, mut least, mut with_len) = (false, false, 0, false);
        while let [option, rest @ ..] = words {
            words = rest;
            if option.eq_ignore_ascii_case(b"IDX") {
                ranges = true;
            } else if option.eq_ignore_ascii_case(b"LEN") {
                len = true;
            } else if option.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                with_len = true;
            } else if let (true, [n, rest @ ..]) =
                (option.eq_ignore_ascii_case(b"MINMATCHLEN"), rest)
            {
                least = integer(n)?;
                words = rest;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        match (len, ranges) {
            (true, true) => Err(Stop::error(
                "ERR If you want both the length and indexes, please just use IDX.",
            )),
            (false, true) => Ok(Self::Ranges { least, with_len }),
            (true, false) => Ok(Self::Len),
            (false, false) => Ok(Self::Text),
        }
    }
}

/// The lengths of the longest common subsequences of all beginnings of two strings.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// Row by row, `b.len() + 1` in each.
    lens: Vec<u32>,
}

/// A piece that both strings have.
struct Match {
    /// Where it begins in the first string.
    a: usize,
    /// Where it begins in the second.
    b: usize,
    len: usize,
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8]) -> Self {
        let mut table = Self { a, b, lens: vec![0; (a.len() + 1) * (b.len() + 1)] };
        let width = b.len() + 1;
        for (i, x) in a.iter().enumerate() {
            let (above, row) = table.lens[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        table
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lens[i * (self.b.len() + 1) + j]
    }

    fn len(&self) -> u32 {
        self.at(self.a.len(), self.b.len())
    }

    /// The pairs of places, in both strings, of the bytes of the subsequence, the last one first.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        core::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if self.a[i - 1] == self.b[j - 1] {
                    (i, j) = (i - 1, j - 1);
                    return Some((i, j));
                }
                // Which way it goes where both are as long is Redis's choice.
                if self.at(i - 1, j) > self.at(i, j - 1) { i -= 1 } else { j -= 1 }
            }
            None
        })
    }

    fn text(&self) -> Vec<u8> {
        let mut text: Vec<u8> = self.pairs().map(|(i, _)| self.a[i]).collect();
        text.reverse();
        text
    }

    /// The pieces of the subsequence, the last one first.
    fn matches(&self) -> impl Iterator<Item = Match> {
        let mut pairs = self.pairs().peekable();
        core::iter::from_fn(move || {
            let (mut a, mut b) = pairs.next()?;
            let mut len = 1;
            while pairs.next_if(|&(i, j)| (i + 1, j + 1) == (a, b)).is_some() {
                (a, b, len) = (a - 1, b - 1, len + 1);
            }
            Some(Match { a, b, len })
        })
    }
}

impl Match {
    fn reply(&self, with_len: bool) -> Reply {
        let range = |start: usize| Reply::Array(vec![length(start), length(start + self.len - 1)]);
        let mut reply = vec![range(self.a), range(self.b)];
        if with_len {
            reply.push(length(self.len));
        }
        Reply::Array(reply)
    }
}
