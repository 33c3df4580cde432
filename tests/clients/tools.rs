//! redis-cli and redis-benchmark.

use std::process::Command;

use crate::common::has;
use crate::missing;
use crate::servers::Servers;

#[test]
fn redis_cli_alone_and_in_a_cluster() {
    if !has("redis-cli") {
        return missing("redis-cli is not installed");
    }
    for (servers, cluster) in [
        (Servers::alone(), &[][..]),
        (Servers::forwarding(), &[]),
        (Servers::redirecting(), &["-c"]),
    ] {
        for protocol in ["-2", "-3"] {
            let cli = |words: &str| {
                let options = [cluster, &[protocol]].concat();
                run("redis-cli", &servers.addresses()[0], &options, words)
            };
            for (words, reply) in [
                ("SET greeting hello PX 100000", "OK"),
                ("GET greeting", "hello"),
                ("GET nothing", ""),
                ("MSET {many}a 1 {many}b 2", "OK"),
                ("MGET {many}a {many}b", "1\n2"),
                ("SET lock mine NX", "OK"),
                ("SET lock theirs NX", ""),
                ("DELIFEQ lock mine", "1"),
                ("FLUSHALL", "OK"),
            ] {
                assert_eq!(cli(words).trim_end(), reply, "{words}");
            }
            assert!(cli("INFO server").contains("redis_version:"));
        }
    }
}

#[test]
fn redis_benchmark_alone_and_in_a_cluster() {
    if !has("redis-benchmark") {
        return missing("redis-benchmark is not installed");
    }
    let tests = "-n 2000 -q -c 10 -P 4 -t ping,set,get,incr,mset";
    for (servers, cluster) in [
        (Servers::alone(), &[][..]),
        (Servers::forwarding(), &[]),
        (Servers::forwarding(), &["--cluster"]),
        (Servers::redirecting(), &["--cluster"]),
    ] {
        let said = run("redis-benchmark", &servers.addresses()[0], cluster, tests);
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"] {
            let done = said
                .split(['\r', '\n'])
                .any(|line| line.starts_with(test) && line.contains("requests per second"));
            assert!(done, "{test} of {said}");
        }
    }
}

/// What the tool says, which must end well and name no error.
fn run(tool: &str, address: &str, options: &[&str], words: &str) -> String {
    let (_, port) = address.rsplit_once(':').expect("host:port");
    let output = Command::new(tool)
        .args(["-p", port])
        .args(options)
        .args(words.split(' '))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {words}: {said}{wrong}");
    assert!(!format!("{said}{wrong}").to_lowercase().contains("err"), "{words}: {said}{wrong}");
    said
}
