//! `redis-benchmark` against whatever speaks Redis's protocol.

use std::io;
use std::process::Command;

/// One run of it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its name for the command: `set`.
    pub test: &'static str,
    /// Connections.
    pub clients: u32,
    /// Commands in flight on each.
    pub pipeline: u32,
    /// Keys, chosen at random.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
}

impl Load {
    /// Requests a second of `requests` to the server on this port.
    pub fn run(&self, port: u16, requests: u64) -> io::Result<f64> {
        self.run_with(port, requests, &[])
    }

    /// The same with more options: `["--cluster"]`.
    pub fn run_with(&self, port: u16, requests: u64, more: &[&str]) -> io::Result<f64> {
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--csv"])
            .args(["-t", self.test, "-n", &requests.to_string()])
            .args(["-c", &self.clients.to_string(), "-P", &self.pipeline.to_string()])
            .args(["-r", &self.keys.to_string(), "-d", &self.value_bytes.to_string()])
            .args(more)
            .output()?;
        // A heading, then: "SET","123456.78",…
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text
            .lines()
            .find(|line| line.to_lowercase().starts_with(&format!("\"{}\"", self.test)));
        let speed = line.and_then(|line| line.split('"').nth(3)?.parse().ok());
        speed.ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("redis-benchmark said:\n{text}{said}"))
        })
    }
}
