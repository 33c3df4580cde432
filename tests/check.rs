//! `kvnode check` on the directory of a real node.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Frame, Node, NodeBuilder, Signal};
use serde_json::Value;

fn check(data: &Path, options: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    let output = command.arg("check").arg(data).args(options).stdin(Stdio::null()).output();
    let output = output.expect("kvnode starts");
    let text = [&output.stdout[..], &output.stderr].concat();
    (output, String::from_utf8_lossy(&text).into_owned())
}

fn json(data: &Path, options: &[&str]) -> (Value, Option<i32>) {
    let (output, text) = check(data, &[&["--json"], options].concat());
    (serde_json::from_slice(&output.stdout).expect(&text), output.status.code())
}

/// A directory with a hundred keys, after a clean stop.
fn written() -> NodeBuilder {
    let node = Node::start(&[]);
    let mut client = node.client();
    for n in 0..100 {
        let value = "v".repeat(100);
        assert_eq!(client.call(["SET".into(), format!("key:{n}"), value]), Frame::ok());
    }
    let (builder, status) = node.end(Signal::Term);
    assert!(status.success());
    builder
}

fn log(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("p0")).expect("a partition");
    let mut paths = files.map(|entry| entry.expect("an entry").path());
    paths.find(|path| path.extension().is_some_and(|e| e == "log")).expect("a log")
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("the file");
    bytes[at] ^= 0x40;
    fs::write(file, bytes).expect("the file");
}

/// Every file with its bytes.
fn content(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut dirs = vec![data.to_owned()];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("LOCK") {
                files.push((path.clone(), fs::read(path).expect("a file")));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_sound_directory_is_clean_and_is_left_as_it_is() {
    let builder = written();
    let before = content(builder.data());
    let (output, text) = check(builder.data(), &[]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("100 live keys") && text.ends_with("Clean.\n"), "{text}");
    let (report, code) = json(builder.data(), &[]);
    assert_eq!((code, &report["clean"]), (Some(0), &Value::Bool(true)));
    assert_eq!(report["summary"]["keys"], 100);
    assert_eq!(content(builder.data()), before);
}

#[test]
fn a_killed_node_leaves_nothing_worse_than_a_note() {
    let node = Node::start(&[]);
    let mut client = node.client();
    for n in 0..50 {
        assert_eq!(client.call(["SET".into(), format!("k{n}"), "v".into()]), Frame::ok());
    }
    let (builder, _) = node.end(Signal::Kill);
    let (report, code) = json(builder.data(), &[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["summary"]["keys"], 50);
}

#[test]
fn a_flipped_byte_is_told_with_its_file_and_place() {
    let builder = written();
    let log = log(builder.data());
    flip(&log, 2_000);
    let (output, text) = check(builder.data(), &[]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("DAMAGED"), "{text}");
    let (report, code) = json(builder.data(), &[]);
    assert_eq!((code, &report["clean"]), (Some(1), &Value::Bool(false)));
    let finding = &report["findings"][0];
    let name = log.file_name().and_then(|name| name.to_str()).expect("a name");
    assert_eq!(finding["file"], format!("p0/{name}"));
    let position = finding["position"].as_u64().expect("a number");
    assert!((1_800..=2_000).contains(&position), "{finding}");
    assert_eq!(finding["severity"], "damage");
}

#[test]
fn an_accepted_loss_is_served_as_what_is_left() {
    let builder = written();
    let log = log(builder.data());
    // Heads of records, wherever they start.
    (2_000..2_400).for_each(|at| flip(&log, at));
    let node = builder.clone().data_in(copy(&builder)).start();
    let reply = node.client().call(["GET", "absent"]);
    assert!(matches!(&reply, Frame::Error(text) if text.starts_with("CORRUPT")), "{reply:?}");
    drop(node);

    let (report, code) = json(builder.data(), &["--accept-loss"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["accepted"][0]["partition"], 0);
    let (output, text) = check(builder.data(), &["--accept-loss"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("nothing to accept"), "{text}");

    let node = builder.start();
    let mut client = node.client();
    assert_eq!(client.call(["GET", "absent"]), Frame::NullBulk);
    let keys = (0..100).filter(|n| {
        let reply = client.call(["GET".into(), format!("key:{n}")]);
        assert!(matches!(reply, Frame::NullBulk | Frame::Bulk(_)), "key:{n}: {reply:?}");
        reply != Frame::NullBulk
    });
    assert!((90..100).contains(&keys.count()));
}

/// The directory once more, beside it.
fn copy(builder: &NodeBuilder) -> PathBuf {
    let to = builder.home().join("copy");
    for (path, bytes) in content(builder.data()) {
        let path = to.join(path.strip_prefix(builder.data()).expect("it is below"));
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(path, bytes).expect("it is written");
    }
    to
}

#[test]
fn a_directory_in_use_is_refused_with_the_holders_process_id() {
    let node = Node::start(&[]);
    let (output, text) = check(node.builder().data(), &[]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("in use") && text.contains(&node.pid().to_string()), "{text}");
}

#[test]
fn a_directory_that_is_no_kvnodes_is_refused_and_nothing_is_made_in_it() {
    let home = tempfile::tempdir().expect("a directory");
    for data in [home.path().to_owned(), home.path().join("none")] {
        let (output, text) = check(&data, &[]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("not a kvnode's"), "{text}");
    }
    assert_eq!(fs::read_dir(home.path()).expect("it is there").count(), 0);
}

#[test]
fn a_wrong_command_line_is_code_2_and_the_help_explains_accepting() {
    let (output, _) = check(Path::new("x"), &["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    let (output, text) = check(Path::new("x"), &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("can not be undone"), "{text}");
}

#[test]
fn a_lost_meta_is_told_and_no_node_starts_over_what_is_there() {
    let builder = written();
    fs::remove_file(builder.data().join("META")).expect("it is there");
    let (report, code) = json(builder.data(), &[]);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["findings"][0]["file"], "META");
    assert_eq!(report["summary"]["keys"], 100, "the partitions are found all the same");
    assert!(!builder.start_in_vain().success());
    assert!(builder.log().contains("no META"), "{}", builder.log());
    assert!(!builder.data().join("META").exists());
}
