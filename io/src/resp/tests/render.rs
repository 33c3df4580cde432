//! Rendering, against what `redis-cli` 7.0 printed for the same bytes with and without `--no-raw`.

use bytes::BytesMut;

use super::super::{Decoder, Frame};

fn frame(bytes: &str) -> Frame {
    let mut buffer = BytesMut::from(bytes);
    let frame = Decoder::default().next(&mut buffer).expect("RESP").expect("a whole reply");
    assert!(buffer.is_empty(), "{bytes:?}");
    frame
}

fn tty(bytes: &str) -> String {
    String::from_utf8(frame(bytes).to_tty()).expect("text")
}

fn raw(bytes: &str) -> String {
    String::from_utf8(frame(bytes).to_raw()).expect("text")
}

#[test]
fn single_values_print_as_in_redis_cli() {
    for (bytes, on_tty, in_pipe) in [
        ("+OK\r\n", "OK\n", "OK\n"),
        ("-ERR no\r\n", "(error) ERR no\n", "ERR no\n\n"),
        (":1\r\n", "(integer) 1\n", "1\n"),
        ("$1\r\nv\r\n", "\"v\"\n", "v\n"),
        ("$0\r\n\r\n", "\"\"\n", "\n"),
        ("$-1\r\n", "(nil)\n", "\n"),
        ("*-1\r\n", "(nil)\n", "\n"),
        ("_\r\n", "(nil)\n", "\n"),
        (",1.5\r\n", "(double) 1.5\n", "1.5\n"),
        ("#t\r\n", "(true)\n", "(true)\n"),
        ("#f\r\n", "(false)\n", "(false)\n"),
        ("=8\r\ntxt:a\r\nb\r\n", "a\r\nb\n", "a\r\nb\n"),
        ("*0\r\n", "(empty array)\n", "\n"),
        ("~0\r\n", "(empty set)\n", "\n"),
        ("%0\r\n", "(empty hash)\n", "\n"),
        (">0\r\n", "(empty push)\n", "\n"),
    ] {
        assert_eq!(tty(bytes), on_tty, "{bytes:?}");
        assert_eq!(raw(bytes), in_pipe, "{bytes:?}");
    }
    assert_eq!(frame(":1\r\n").to_string(), "(integer) 1");
}

#[test]
fn a_string_is_quoted_as_c_would() {
    let value = Frame::Bulk(b"a\"\\\n\r\t\x07\x08\0\x7f\xff \xc3\xa9~".to_vec());
    assert_eq!(value.to_string(), r#""a\"\\\n\r\t\a\b\x00\x7f\xff \xc3\xa9~""#);
}

#[test]
fn nested_arrays_are_aligned() {
    let bytes = "*4\r\n:1\r\n*3\r\n:2\r\n*2\r\n:3\r\n$1\r\nx\r\n:4\r\n*0\r\n$1\r\nb\r\n";
    let printed = r#"1) (integer) 1
2) 1) (integer) 2
   2) 1) (integer) 3
      2) "x"
   3) (integer) 4
3) (empty array)
4) "b"
"#;
    assert_eq!(tty(bytes), printed);
    assert_eq!(raw(bytes), "1\n2\n3\nx\n4\n\nb\n");
}

#[test]
fn numbers_of_two_digits_widen_the_column() {
    let bytes = format!("*2\r\n*10\r\n{}:0\r\n", ":5\r\n".repeat(10));
    let printed = "1)  1) (integer) 5\n    2) (integer) 5\n";
    assert!(tty(&bytes).starts_with(printed));
    assert!(tty(&bytes).ends_with("\n   10) (integer) 5\n2) (integer) 0\n"));
}

#[test]
fn maps_and_sets_print_as_in_redis_cli() {
    let bytes = "%4\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n\
                 $6\r\nsearch\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n\
                 $4\r\nkeys\r\n%1\r\n$4\r\nspec\r\n%2\r\n$7\r\nlastkey\r\n:0\r\n$5\r\nlimit\r\n:0\r\n\
                 $7\r\nmodules\r\n*0\r\n";
    let printed = [
        r#"1# "flags" => "#,
        r#"   1~ RO"#,
        r#"   2~ access"#,
        r#"2# "search" => "#,
        r#"   1# "type" => "index""#,
        r#"   2# "spec" => 1# "index" => (integer) 1"#,
        r#"3# "keys" => "#,
        r#"   1# "spec" => "#,
        r#"      1# "lastkey" => (integer) 0"#,
        r#"      2# "limit" => (integer) 0"#,
        r#"4# "modules" => (empty array)"#,
        "",
    ];
    assert_eq!(tty(bytes), printed.join("\n"));
    assert_eq!(raw("%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n:3\r\n"), "a 1\nb 2\n3\n");
}
