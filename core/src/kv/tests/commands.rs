//! What single commands do, beyond the captured replies.

use super::world::World;

#[test]
fn set_if_equal_compares_and_sets() {
    World::new().story(
        "
        SET k v IFEQ x -> $-1
        EXISTS k -> :0
        SET k v -> +OK
        SET k w IFEQ x -> $-1
        SET k w IFEQ v -> +OK
        SET k x IFEQ v GET -> 'w'
        GET k -> 'w'
        SET k x GET IFEQ w EX 100 -> 'w'
        TTL k -> :100
        SET k x IFEQ x NX -> -ERR syntax error
        SET k x XX IFEQ x -> -ERR syntax error
        SET k x IFEQ -> -ERR syntax error
        SET none v IFEQ v GET -> $-1
        DELIFEQ k y -> :0
        DELIFEQ k x -> :1
        DELIFEQ k x -> :0
        ",
    );
}

#[test]
fn set_keeps_or_drops_the_time_of_expiry() {
    World::new().story(
        "
        SET k v EX 100 -> +OK
        SET k w KEEPTTL -> +OK
        TTL k -> :100
        APPEND k x -> :2
        TTL k -> :100
        SET k v GET -> 'wx'
        TTL k -> :-1
        SET k v PX 1500 -> +OK
        PTTL k -> :1500
        TTL k -> :2
        SET k v EX 10 ex 20 -> +OK
        TTL k -> :20
        SET k v NX NX GET get -> 'v'
        INCRBYFLOAT n 1.5 -> '1.5'
        EXPIRE n 9 -> :1
        INCRBYFLOAT n 1.5 -> '3'
        TTL n -> :9
        GETSET n x -> '3'
        TTL n -> :-1
        ",
    );
}

#[test]
fn what_has_expired_already_is_deleted() {
    World::new().story(
        "
        SET k v -> +OK
        SET k w EXAT 1 GET -> 'v'
        GET k -> $-1
        SET k v PXAT 1699999999999 -> +OK
        EXISTS k -> :0
        SET k v -> +OK
        GETEX k PXAT 1 -> 'v'
        EXISTS k -> :0
        SET k v PXAT 1700000000001 -> +OK
        EXISTS k -> :1
        EXPIRE k 0 -> :1
        EXISTS k -> :0
        SET k v -> +OK
        PEXPIRE k -9223372036854775808 -> :1
        EXISTS k -> :0
        ",
    );
}

#[test]
fn a_key_lives_until_its_time_has_come() {
    let mut world = World::new();
    world.run("SET k v PX 10");
    world.view.now_ms += 9;
    assert_eq!(world.run("PTTL k"), ":1");
    world.view.now_ms += 1;
    assert_eq!(world.run("PTTL k"), ":-2");
    assert_eq!(world.run("SET k w NX"), "+OK");
}

#[test]
fn getex_leaves_sets_or_takes_the_time_of_expiry() {
    World::new().story(
        "
        SET k v EX 100 -> +OK
        GETEX k -> 'v'
        TTL k -> :100
        GETEX k EXAT 1700000050 -> 'v'
        TTL k -> :50
        EXPIRETIME k -> :1700000050
        PEXPIRETIME k -> :1700000050000
        GETEX k PERSIST -> 'v'
        TTL k -> :-1
        GETEX k KEEPTTL -> -ERR syntax error
        GETEX none EX abc -> $-1
        GETEX none EX -> -ERR syntax error
        ",
    );
}

#[test]
fn rename_and_copy_take_the_time_of_expiry_along() {
    World::new().story(
        "
        SET a 1 EX 100 -> +OK
        SET b 2 -> +OK
        RENAME a b -> +OK
        TTL b -> :100
        EXISTS a -> :0
        RENAME b b -> +OK
        RENAMENX b b -> :0
        COPY b c -> :1
        TTL c -> :100
        COPY b c DB 0 REPLACE -> :1
        COPY none none2 -> :0
        COPY b c DB abc -> -ERR value is not an integer or out of range
        ",
    );
}

#[test]
fn any_bytes_are_a_key_and_a_value() {
    World::new().story(
        r#"
        SET "" "" -> +OK
        GET "" -> ''
        STRLEN "" -> :0
        KEYS * -> *['']
        KEYS ** -> *[]
        SCAN 0 MATCH * -> *['0', *['']]
        TYPE "" -> +string
        RANDOMKEY -> ''
        APPEND new "" -> :0
        EXISTS new -> :1
        "#,
    );
}

#[test]
fn databases_beyond_the_first_do_not_exist() {
    World::new().story(
        "
        SELECT 0 -> +OK
        SELECT 1 -> -ERR DB index is out of range
        SELECT -1 -> -ERR DB index is out of range
        SELECT 99999999999 -> -ERR value is out of range, value must between -2147483648 and 2147483647
        ",
    );
}

#[test]
fn the_configuration_can_be_asked_for() {
    World::new().story(
        "
        CONFIG GET save appendonly -> *['appendonly', 'yes', 'save', '']
        CONFIG GET PROTO* -> *['proto-max-bulk-len', '67108864']
        CONFIG GET maxmemory -> *['maxmemory', '0']
        ",
    );
}

#[test]
fn the_client_is_known_by_what_it_said() {
    let mut world = World::new();
    world.story(
        "
        HELLO 2 AUTH default any SETNAME me -> *['server', 'redis', 'version', '7.2.4', 'proto', :2, 'id', :7, 'mode', 'standalone', 'role', 'master', 'modules', *[]]
        CLIENT GETNAME -> 'me'
        CLIENT SETNAME \"\" -> +OK
        CLIENT GETNAME -> $-1
        CLIENT SETINFO lib-name lib -> +OK
        CLIENT SETINFO LIB-VER 1.2 -> +OK
        AUTH default any -> +OK
        AUTH a b c -> -ERR syntax error
        TIME -> *['1700000000', '42']
        ",
    );
    assert_eq!(world.session.library(), (Some(&b"lib"[..]), Some(&b"1.2"[..])));
}
