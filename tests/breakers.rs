//! Cases that broke other stores, over the real process.

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Client, Frame, Node, NodeBuilder, Rng, Signal, skipped, wait_until};

/// Small enough to roll often.
const SMALL_SEGMENT: [&str; 2] = ["--segment", "64kb"];

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 65_535;

fn set(client: &mut Client, key: &[u8], value: &[u8]) {
    assert_eq!(client.call([b"SET", key, value]), Frame::ok());
}

fn get(client: &mut Client, key: &[u8]) -> Frame {
    client.call([b"GET", key])
}

/// Stops the node and starts it again: what is read then was read from the log.
fn restart(node: Node) -> Node {
    let (builder, status) = node.end(Signal::Term);
    assert!(status.success(), "{status}: {}", builder.log());
    builder.start()
}

#[test]
fn an_empty_value_is_a_value() {
    let node = Node::start(&[]);
    let mut client = node.client();
    set(&mut client, b"k", b"");
    assert_eq!(get(&mut client, b"k"), Frame::bulk(""));
    assert_eq!(client.call(["EXISTS", "k"]), Frame::Int(1));
    let node = restart(node);
    let mut client = node.client();
    assert_eq!(get(&mut client, b"k"), Frame::bulk(""));
    assert_eq!(client.call(["STRLEN", "k"]), Frame::Int(0));
}

#[test]
fn values_of_awkward_lengths_come_back_whole() {
    // With no cache each read is one of the disk.
    let node = Node::start(&["--cache", "0"]);
    let mut rng = Rng::new(1);
    let lengths = [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20, 16 << 20];
    let values: Vec<_> = lengths.iter().map(|&len| rng.bytes(len)).collect();
    let check = |node: &Node| {
        let mut client = node.client();
        for value in &values {
            let key = value.len().to_string();
            assert!(get(&mut client, key.as_bytes()) == Frame::bulk(value), "{key} bytes");
        }
    };
    let mut client = node.client();
    for value in &values {
        set(&mut client, value.len().to_string().as_bytes(), value);
    }
    check(&node);
    check(&restart(node));
}

#[test]
fn keys_and_values_are_any_bytes() {
    let node = Node::start(&[]);
    let all: Vec<u8> = (0..=255).collect();
    let mut keys: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    keys.extend([
        b"".to_vec(),
        b"\0".repeat(3),
        b"a/b/../../etc/passwd".to_vec(),
        b"/".to_vec(),
        b"..".to_vec(),
        b"a\0b".to_vec(),
        b"a\0c".to_vec(),
        b"line\r\nbreak".to_vec(),
        all.clone(),
        all.iter().rev().copied().collect(),
        vec![b'k'; KEY_BYTES_MAX],
    ]);
    keys.sort();
    keys.dedup();
    let value = |key: &[u8]| [key, all.as_slice(), key].concat();
    let mut client = node.client();
    for key in &keys {
        set(&mut client, key, &value(key));
    }
    let too_long = vec![b'k'; KEY_BYTES_MAX + 1];
    assert!(client.call([b"SET", too_long.as_slice(), b"v"]).is_error("ERR "));
    let node = restart(node);
    let mut client = node.client();
    for key in &keys {
        assert_eq!(get(&mut client, key), Frame::Bulk(value(key)), "{}", key.escape_ascii());
    }
    let mut found = client.call(["KEYS", "*"]).elements().expect("a list").to_vec();
    found.sort();
    let keys: Vec<_> = keys.into_iter().map(Frame::Bulk).collect();
    assert_eq!(found, keys);
}

#[test]
fn delete_then_put_then_get() {
    let node = Node::start(&[]);
    let mut client = node.client();
    set(&mut client, b"k", b"old");
    assert_eq!(client.call(["DEL", "k"]), Frame::Int(1));
    assert_eq!(get(&mut client, b"k"), Frame::NullBulk);
    set(&mut client, b"k", b"new");
    assert_eq!(get(&mut client, b"k"), Frame::bulk("new"));
    set(&mut client, b"gone", b"x");
    assert_eq!(client.call(["DEL", "gone", "never"]), Frame::Int(1));
    let node = restart(node);
    let mut client = node.client();
    assert_eq!(get(&mut client, b"k"), Frame::bulk("new"));
    assert_eq!(get(&mut client, b"gone"), Frame::NullBulk);
    assert_eq!(client.call(["DBSIZE"]), Frame::Int(1));
}

#[test]
fn a_value_that_looks_like_a_tombstone_is_a_value() {
    let node = Node::start(&[]);
    let mut client = node.client();
    set(&mut client, b"k", b"old");
    assert_eq!(client.call(["DEL", "k"]), Frame::Int(1));
    // The log as it stands ends with a true tombstone of this very key.
    let log = fs::read(&segments(&node)[0]).expect("the log can be read");
    let end = log.iter().rposition(|&byte| byte != 0).expect("it holds records");
    let log = &log[..=end];
    let lookalikes: [&[u8]; 5] = [log, b"", b"\0", b"__tombstone__", &[0xff; 64]];
    for (n, value) in lookalikes.iter().enumerate() {
        set(&mut client, format!("k{n}").as_bytes(), value);
    }
    set(&mut client, b"k", log);
    // Killed, it must find the end of the log by itself.
    let (builder, _) = node.end(Signal::Kill);
    let node = restart(builder.start());
    let mut client = node.client();
    for (n, value) in lookalikes.iter().enumerate() {
        assert_eq!(get(&mut client, format!("k{n}").as_bytes()), Frame::bulk(value), "{n}");
    }
    assert_eq!(get(&mut client, b"k"), Frame::bulk(log));
}

/// Keys that are rewritten while others read them.
const CONTENDED_KEYS: u64 = 200;

/// Rewrites of all of them.
const REWRITES: u64 = 120;

#[test]
fn eight_readers_during_compaction_see_no_old_value() {
    let node =
        Node::start(&[&["--cache", "64kb", "--fsync", "never"], &SMALL_SEGMENT[..]].concat());
    let oldest = segments(&node)[0].clone();
    let value = |key: u64, version: u64| {
        [format!("{version:020}:{key}:"), "x".repeat((key % 97 * 8) as usize)].concat()
    };
    // What was acknowledged of each key.
    let acknowledged: Vec<AtomicU64> = (0..CONTENDED_KEYS).map(|_| AtomicU64::new(0)).collect();
    let mut writer = node.client();
    for key in 0..CONTENDED_KEYS {
        set(&mut writer, key.to_string().as_bytes(), value(key, 0).as_bytes());
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..8 {
            let (node, done, acknowledged) = (&node, &done, &acknowledged);
            scope.spawn(move || {
                let mut client = node.client();
                let mut rng = Rng::new(reader);
                while !done.load(Ordering::Relaxed) {
                    let key = rng.below(CONTENDED_KEYS);
                    let at_least = acknowledged[key as usize].load(Ordering::SeqCst);
                    let Frame::Bulk(found) = get(&mut client, key.to_string().as_bytes()) else {
                        panic!("key {key} is gone");
                    };
                    let found = String::from_utf8(found).expect("it is text");
                    let version: u64 = found[..20].parse().expect("it starts with its version");
                    assert_eq!(found, value(key, version));
                    assert!(version >= at_least, "key {key}: {version} after {at_least}");
                }
            });
        }
        let _done = SetOnDrop(&done);
        for version in 1..=REWRITES {
            for key in 0..CONTENDED_KEYS {
                set(&mut writer, key.to_string().as_bytes(), value(key, version).as_bytes());
                acknowledged[key as usize].store(version, Ordering::SeqCst);
            }
        }
        wait_until("the oldest segment to be compacted away", || (!oldest.exists()).then_some(()));
        done.store(true, Ordering::Relaxed);
    });
    let node = restart(node);
    let mut client = node.client();
    for key in 0..CONTENDED_KEYS {
        let found = get(&mut client, key.to_string().as_bytes());
        assert_eq!(found, Frame::bulk(value(key, REWRITES)));
    }
}

/// Lets the readers go, also when the writer fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn deleted_keys_stay_deleted_through_compaction_and_restart() {
    let node = Node::start(&[&["--fsync", "never"], &SMALL_SEGMENT[..]].concat());
    let oldest = segments(&node)[0].clone();
    let mut client = node.client();
    for n in 0..2_000 {
        set(&mut client, format!("k{n}").as_bytes(), &[b'x'; 100]);
    }
    for n in (0..2_000).filter(|n| n % 10 != 0) {
        assert_eq!(client.call(["DEL".into(), format!("k{n}")]), Frame::Int(1));
    }
    wait_until("the oldest segment to be compacted away", || (!oldest.exists()).then_some(()));
    let check = |node: &Node| {
        let mut client = node.client();
        assert_eq!(client.call(["DBSIZE"]), Frame::Int(200));
        for n in 0..2_000 {
            let expected = if n % 10 == 0 { Frame::bulk([b'x'; 100]) } else { Frame::NullBulk };
            assert_eq!(get(&mut client, format!("k{n}").as_bytes()), expected, "k{n}");
        }
    };
    check(&node);
    check(&restart(node));
}

#[test]
fn a_second_process_on_the_directory_is_refused_with_the_holders_pid() {
    let node = Node::start(&[]);
    let mut client = node.client();
    set(&mut client, b"k", b"v");
    let second = NodeBuilder::new().data_in(node.builder().data());
    let status = second.start_in_vain();
    assert_eq!(status.code(), Some(1));
    let said = second.log();
    assert!(said.contains(&node.pid().to_string()), "{said}");
    assert!(said.contains(&node.builder().data().display().to_string()), "{said}");
    assert_eq!(get(&mut client, b"k"), Frame::bulk("v"), "the first goes on");
    // Whoever is killed leaves no lock behind.
    let (builder, _) = node.end(Signal::Kill);
    assert_eq!(get(&mut builder.start().client(), b"k"), Frame::bulk("v"));
}

#[test]
fn a_zero_length_segment_is_no_obstacle() {
    // As a crash leaves it that came between the making of a file and the first write to it.
    let node = Node::start(&[]);
    set(&mut node.client(), b"k", b"v");
    let last = segments(&node).pop().expect("there is one");
    let (builder, _) = node.end(Signal::Kill);
    let name = last.file_name().and_then(|name| name.to_str()).expect("a name");
    let (base, id) = name.trim_end_matches(".log").split_once('-').expect("base and id");
    let id = u32::from_str_radix(id, 16).expect("hexadecimal");
    File::create(last.with_file_name(format!("{base}-{:08x}.log", id + 1))).expect("made");
    let node = builder.start();
    let mut client = node.client();
    assert_eq!(get(&mut client, b"k"), Frame::bulk("v"));
    set(&mut client, b"k2", b"v2");
    let node = restart(node);
    let mut client = node.client();
    assert_eq!(get(&mut client, b"k"), Frame::bulk("v"));
    assert_eq!(get(&mut client, b"k2"), Frame::bulk("v2"));
}

#[test]
fn a_missing_hint_is_rebuilt() {
    spoil_hints(|hint| fs::remove_file(hint).expect("removed"));
}

#[test]
fn a_corrupt_hint_is_not_believed() {
    spoil_hints(|hint| {
        let mut bytes = fs::read(hint).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(hint, bytes).expect("written");
    });
}

#[test]
fn an_empty_hint_is_not_believed() {
    spoil_hints(|hint| fs::write(hint, "").expect("written"));
}

#[test]
fn the_hint_of_another_segment_is_not_believed() {
    spoil_hints(|hint| {
        let other = files(hint.parent().expect("a directory"), "hint")
            .into_iter()
            .find(|other| other != hint)
            .expect("there are several");
        fs::copy(other, hint).expect("copied");
    });
}

/// Does something to each hint of a node with many, and looks whether all keys are still there.
fn spoil_hints(spoil: impl Fn(&Path)) {
    let node = Node::start(&[&["--fsync", "never"], &SMALL_SEGMENT[..]].concat());
    let mut client = node.client();
    for n in 0..3_000 {
        set(&mut client, format!("k{n}").as_bytes(), format!("{n:0100}").as_bytes());
    }
    let partition = partition(&node);
    wait_until("hints", || (files(&partition, "hint").len() >= 3).then_some(()));
    let (builder, status) = node.end(Signal::Term);
    assert!(status.success());
    for hint in files(&partition, "hint") {
        spoil(&hint);
    }
    let node = restart(builder.start());
    let mut client = node.client();
    assert_eq!(client.call(["DBSIZE"]), Frame::Int(3_000));
    for n in 0..3_000 {
        let expected = Frame::bulk(format!("{n:0100}"));
        assert_eq!(get(&mut client, format!("k{n}").as_bytes()), expected);
    }
}

#[test]
fn a_flipped_bit_in_the_log_is_an_error_and_never_a_wrong_value() {
    let node = Node::start(&[&["--fsync", "never", "--cache", "0"], &SMALL_SEGMENT[..]].concat());
    let mut client = node.client();
    let value = |n: u64| format!("{n:0>90}").into_bytes();
    for n in 0..3_000 {
        set(&mut client, format!("k{n}").as_bytes(), &value(n));
    }
    let segment = segments(&node)[1].clone();
    let (builder, status) = node.end(Signal::Term);
    assert!(status.success());
    let mut bytes = fs::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let node = builder.start();
    let mut client = node.client();
    let mut damaged = 0;
    for n in 0..3_000 {
        let reply = get(&mut client, format!("k{n}").as_bytes());
        if reply.is_error("CORRUPT") {
            damaged += 1;
        } else {
            assert_eq!(reply, Frame::Bulk(value(n)), "k{n}");
        }
    }
    assert_eq!(damaged, 1, "one bit is in one record");
    set(&mut client, b"new", b"v");
    assert_eq!(get(&mut client, b"new"), Frame::bulk("v"), "everything else goes on");
}

/// Size of the file system that is filled.
const SMALL_DISK: &str = "size=24m";

/// What lies in the way on it, in bytes.
const BALLAST_BYTES: u64 = 8 << 20;

/// Writes that would fill it several times over.
const WRITES_MAX: usize = 2_000;

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let base = NodeBuilder::new();
    let disk = base.home().join("disk");
    let Some(mount) = Mount::tmpfs(&disk) else {
        return skipped("a small file system can not be mounted here (that takes root)");
    };
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES as usize]).expect("there is room for the ballast");
    let node = base.data_in(disk.join("data")).options(["--segment", "1mb"]).start();
    let mut client = node.client();
    let value = |n: usize| format!("{n:0>20000}").into_bytes();
    let mut kept = 0;
    let refusal = loop {
        assert!(kept < WRITES_MAX, "the disk does not fill");
        match client.call([b"SET", format!("k{kept}").as_bytes(), &value(kept)]) {
            reply if reply == Frame::ok() => kept += 1,
            refusal => break refusal,
        }
    };
    let Frame::Error(text) = &refusal else { panic!("{refusal:?}") };
    assert!(text.contains("disk") && text.contains("full"), "the error says so: {text}");
    let check = |client: &mut Client, kept: usize| {
        for n in 0..kept {
            let key = format!("k{n}");
            assert!(get(client, key.as_bytes()) == Frame::bulk(value(n)), "{key}");
        }
        assert_eq!(get(client, format!("k{kept}").as_bytes()), Frame::NullBulk, "it was refused");
    };
    check(&mut client, kept);
    assert!(client.call(["SET".into(), "k0".into(), "x".repeat(1 << 20)]).is_error(""));
    fs::remove_file(ballast).expect("removed");
    wait_until("writes to be taken again", || {
        (client.call(["SET", "after", "v"]) == Frame::ok()).then_some(())
    });
    check(&mut client, kept);
    let node = restart(node);
    let mut client = node.client();
    check(&mut client, kept);
    assert_eq!(get(&mut client, b"after"), Frame::bulk("v"));
    node.end(Signal::Term);
    drop(mount);
}

/// A mounted file system, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since a node that failed the test may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn partition(node: &Node) -> PathBuf {
    node.builder().data().join("p0")
}

/// The log's segments, the oldest first.
fn segments(node: &Node) -> Vec<PathBuf> {
    files(&partition(node), "log")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    paths
}
