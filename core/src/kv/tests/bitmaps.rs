//! Bits, bit fields and common subsequences.

use super::world::World;

#[test]
fn bits_are_set_counted_and_found() {
    World::new().story(
        "
        SETBIT k 7 1 -> :0
        GET k -> '\\x01'
        SETBIT k 7 0 -> :1
        SETBIT k 17 1 -> :0
        GET k -> '\\x00\\x00@'
        GETBIT k 17 -> :1
        GETBIT k 100 -> :0
        GETBIT none 0 -> :0
        BITCOUNT k -> :1
        BITCOUNT k 0 1 -> :0
        BITCOUNT k 17 17 BIT -> :1
        BITCOUNT k -1 -2 -> :0
        BITCOUNT none x y -> :0
        BITCOUNT k 0 -> -ERR syntax error
        BITPOS k 1 -> :17
        BITPOS k 0 -1 -> :16
        BITPOS k 1 0 16 BIT -> :-1
        BITPOS none 0 -> :0
        BITPOS none 1 -> :-1
        BITPOS k 2 -> -ERR The bit argument must be 1 or 0.
        ",
    );
}

#[test]
fn zeros_behind_a_value_count_unless_the_range_ends() {
    World::new().story(
        "
        BITFIELD k SET u8 0 255 SET u8 #1 255 -> *[:0, :0]
        BITPOS k 0 -> :16
        BITPOS k 0 1 -> :16
        BITPOS k 0 0 -1 -> :-1
        BITPOS k 0 2 -> :-1
        SET empty \"\" -> +OK
        BITPOS empty 0 -> :-1
        ",
    );
}

#[test]
fn a_bit_lies_in_the_longest_value_or_nowhere() {
    World::new().story(
        "
        SETBIT k 536870912 1 -> -ERR bit offset is not an integer or out of range
        GETBIT k 536870912 -> -ERR bit offset is not an integer or out of range
        GETBIT k 536870911 -> :0
        SETBIT k -1 1 -> -ERR bit offset is not an integer or out of range
        SETBIT k 0 2 -> -ERR bit is not an integer or out of range
        BITFIELD k GET u8 #67108864 -> -ERR bit offset is not an integer or out of range
        BITFIELD k GET u8 #2305843009213693952 -> -ERR bit offset is not an integer or out of range
        BITFIELD k SET u8 536870911 1 -> -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        EXISTS k -> :0
        ",
    );
}

#[test]
fn a_write_that_changes_no_bit_is_not_logged() {
    let mut world = World::new();
    world.run("SETBIT k 7 1");
    world.run("WATCH k");
    world.run("SETBIT k 7 1");
    world.run("BITFIELD k SET u8 0 1 OVERFLOW FAIL INCRBY u8 0 255");
    world.story(
        "
        MULTI -> +OK
        GET k -> +QUEUED
        EXEC -> *['\\x01']
        ",
    );
}

#[test]
fn bitop_combines_what_is_there() {
    World::new().story(
        "
        SET a abc EX 100 -> +OK
        SET b ab -> +OK
        BITOP AND a a b -> :3
        GET a -> 'ab\\x00'
        TTL a -> :-1
        BITOP XOR x a b none -> :3
        GET x -> '\\x00\\x00\\x00'
        BITOP not x b -> :2
        GET x -> '\\x9e\\x9d'
        BITOP OR x none -> :0
        EXISTS x -> :0
        BITOP NOT x a b -> -ERR BITOP NOT must be called with a single source key.
        BITOP NAND x a b -> -ERR syntax error
        ",
    );
}

#[test]
fn fields_wrap_saturate_or_fail() {
    World::new().story(
        "
        BITFIELD k SET u8 0 250 -> *[:0]
        BITFIELD k INCRBY u8 0 10 -> *[:4]
        BITFIELD k OVERFLOW SAT INCRBY u8 0 -10 OVERFLOW FAIL INCRBY u8 0 256 -> *[:0, $-1]
        BITFIELD k SET i4 4 7 INCRBY i4 4 1 GET u4 4 -> *[:0, :-8, :8]
        BITFIELD k OVERFLOW SAT SET i64 0 9223372036854775807 INCRBY i64 0 1 -> *[:576460752303423488, :9223372036854775807]
        BITFIELD k INCRBY i64 0 1 -> *[:-9223372036854775808]
        BITFIELD k OVERFLOW SAT SET i2 0 -9223372036854775808 GET i2 0 -> *[:-2, :-2]
        BITFIELD k -> *[]
        BITFIELD none GET i8 100 -> *[:0]
        EXISTS none -> :0
        BITFIELD k OVERFLOW x -> -ERR Invalid OVERFLOW type specified
        BITFIELD k GET u8 -> -ERR syntax error
        BITFIELD k GET u64 0 -> -ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
        BITFIELD_RO k GET u4 0 -> *[:8]
        BITFIELD_RO k SET u4 0 1 -> -ERR BITFIELD_RO only supports the GET subcommand
        ",
    );
}

#[test]
fn the_longest_common_subsequence_is_told_in_three_ways() {
    World::new().story(
        "
        MSET a ohmytext b mynewtext -> +OK
        LCS a b -> 'mytext'
        LCS a b LEN -> :6
        LCS a b IDX -> *['matches', *[*[*[:4, :7], *[:5, :8]], *[*[:2, :3], *[:0, :1]]], 'len', :6]
        LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN -> *['matches', *[*[*[:4, :7], *[:5, :8], :4]], 'len', :6]
        LCS a none -> ''
        LCS a b LEN IDX -> -ERR If you want both the length and indexes, please just use IDX.
        LCS a b MINMATCHLEN -> -ERR syntax error
        SETRANGE c 5000 x -> :5001
        LCS c c LEN -> -ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len
        LCS c a LEN -> :1
        ",
    );
}
