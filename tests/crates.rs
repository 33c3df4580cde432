//! The rules of the workspace, held by a test: which crate may use which, what core may depend on,
//! and how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What core may depend on. Each is used without its default features, so that none brings std.
const CORE_DEPENDENCIES: [&str; 12] = [
    "bytes",
    "crc",
    "crc32fast",
    "foldhash",
    "hashbrown",
    "postcard",
    "rand_core",
    "serde",
    "sha2",
    "subtle",
    "thiserror",
    "tracing",
];

/// Features that would bring std into core.
const STD_FEATURES: [&str; 2] = ["std", "default"];

/// Which crate of ours may use which: cli → io → core ← sim ← cli.
const ARROWS: [(&str, &[&str]); 5] = [
    ("kvnode", &["kvnode-core", "kvnode-io", "kvnode-sim"]),
    ("kvnode-benches", &["kvnode-core", "kvnode-io"]),
    ("kvnode-core", &[]),
    ("kvnode-io", &["kvnode-core"]),
    ("kvnode-sim", &["kvnode-core"]),
];

/// Longest file of Rust, in lines.
const LINES_MAX: usize = 700;

#[test]
fn core_depends_on_its_allow_list_alone() {
    let metadata = metadata();
    let core = package(&metadata, "kvnode-core");
    for dependency in dependencies(core) {
        let name = text(dependency, "name");
        assert!(CORE_DEPENDENCIES.contains(&name), "core depends on {name}");
        assert_eq!(dependency["uses_default_features"], false, "{name} in core");
        for feature in list(dependency, "features") {
            let feature = feature.as_str().expect("a name");
            assert!(!STD_FEATURES.contains(&feature), "core uses {name} with {feature}");
        }
    }
    let lib = fs::read_to_string(root().join("core/src/lib.rs")).expect("core has a lib.rs");
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(lib.contains(attribute), "core without {attribute}");
    }
}

#[test]
fn the_crates_keep_their_arrows() {
    let metadata = metadata();
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let ours: BTreeSet<_> =
        list(&metadata, "packages").iter().map(|package| text(package, "name")).collect();
    assert_eq!(ours, arrows.keys().copied().collect(), "the packages of the workspace");
    for package in list(&metadata, "packages") {
        let from = text(package, "name");
        for dependency in dependencies(package) {
            let to = text(dependency, "name");
            assert!(!ours.contains(to) || arrows[from].contains(&to), "{from} must not use {to}");
        }
    }
    let optional = dependencies(package(&metadata, "kvnode"))
        .find(|dependency| text(dependency, "name") == "kvnode-sim")
        .map(|dependency| &dependency["optional"]);
    assert_eq!(optional, Some(&Value::Bool(true)), "the simulator is a feature");
}

#[test]
fn the_benchmarks_are_built_by_nobody_who_did_not_ask() {
    let metadata = metadata();
    for member in list(&metadata, "workspace_default_members") {
        let member = member.as_str().expect("an id");
        assert!(!member.contains("kvnode-benches"), "{member} is a default member");
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut files = Vec::new();
    for dir in ["benches", "cli", "core", "io", "sim", "tests"] {
        rust_files(&root().join(dir), &mut files);
    }
    assert!(files.len() > 20, "the files are looked for in the wrong place");
    for file in files {
        let lines = fs::read_to_string(&file).expect("a source file").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn package<'v>(metadata: &'v Value, name: &str) -> &'v Value {
    let mut packages = list(metadata, "packages").iter();
    packages.find(|package| text(package, "name") == name).expect("the package is there")
}

/// What a package is built with, tests apart.
fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    list(package, "dependencies").iter().filter(|dependency| dependency["kind"] != "dev")
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().expect("a list")
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().expect("a text")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with("target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
