//! Bitmaps.

use super::{GROW, READ_FAST};
use crate::kv::bitmap;
use crate::kv::command::{Command, Flags, Group, Handler};
use Group::Bitmap;
use Handler::Keys;

pub(super) const BITMAPS: &[Command] = &[
    Command::new("setbit", 4, "key offset value", Keys(bitmap::setbit))
        .docs(Bitmap, "2.2.0", "Sets or clears a bit of a string value; returns what it was.")
        .takes("O(N), N being the length of the new value, which is written as a whole")
        .flags(GROW)
        .key(&["RW access update"]),
    Command::new("getbit", 3, "key offset", Keys(bitmap::getbit))
        .docs(Bitmap, "2.2.0", "Returns a bit of a string value.")
        .flags(READ_FAST)
        .key(&["RO access"]),
    Command::new("bitcount", -2, "key [start end [BYTE | BIT]]", Keys(bitmap::bitcount))
        .docs(Bitmap, "2.6.0", "Counts the bits that are set in a string value.")
        .takes("O(N), N being the length of the range")
        .flags(Flags::READONLY)
        .key(&["RO access"]),
    Command::new("bitpos", -3, "key bit [start [end [BYTE | BIT]]]", Keys(bitmap::bitpos))
        .docs(Bitmap, "2.8.7", "Finds the first bit that is set, or clear, in a string value.")
        .takes("O(N), N being the length of the range")
        .flags(Flags::READONLY)
        .key(&["RO access"]),
    Command::new("bitop", -4, BITOP, Keys(bitmap::bitop))
        .docs(Bitmap, "2.6.0", "Combines string values bit by bit and stores the result.")
        .takes("O(N), N being the length of all values together")
        .flags(GROW)
        .keys_at(-1, 1, &["OW update", "RO access"])
        .keys_behind_a_word(-1),
    Command::new("bitfield", -2, BITFIELD, Keys(bitmap::bitfield))
        .docs(Bitmap, "3.2.0", "Reads and writes integers of any width in a string value.")
        .takes("O(1) for each GET; if there is any other, O(N), N being the length of the new value, which is written as a whole")
        .flags(GROW)
        .key(&["RW access update variable_flags"])
        .key_notes("This command allows both access and modification of the key"),
    Command::new("bitfield_ro", -2, BITFIELD_RO, Keys(bitmap::bitfield_ro))
        .docs(Bitmap, "6.0.0", "Reads integers of any width in a string value.")
        .takes("O(1) for each GET")
        .flags(READ_FAST)
        .key(&["RO access"]),
];

const BITOP: &str = "<AND | OR | XOR | NOT> destkey key [key ...]";
const BITFIELD: &str = "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
    <SET encoding offset value | INCRBY encoding offset increment> [GET encoding offset | \
    [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset \
    increment> ...]]";
const BITFIELD_RO: &str = "key [GET encoding offset [GET encoding offset ...]]";
