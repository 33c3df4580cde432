//! A real Redis to compare with.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Client, Endpoint, Frame, has, skipped, wait_until};

/// A running redis-server, gone when dropped.
pub(crate) struct Redis {
    child: Child,
    endpoint: Endpoint,
    _dir: TempDir,
}

impl Redis {
    /// Starts one with kvnode's limits: one database, values up to 64 MiB, nothing saved. Where
    /// there is none it says so and gives `None`.
    ///
    /// # Panics
    /// If there is none and `KVNODE_REQUIRE_REDIS=1`: a CI run must not pass by skipping.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// The same with more options: `["--databases", "2"]`.
    pub(crate) fn with(options: &[&str]) -> Option<Self> {
        if !has("redis-server") {
            let required = std::env::var("KVNODE_REQUIRE_REDIS").is_ok_and(|v| v == "1");
            assert!(!required, "KVNODE_REQUIRE_REDIS=1, but redis-server is not installed");
            skipped("redis-server is not installed, so there is nothing to compare with");
            return None;
        }
        let dir = TempDir::new().expect("a temporary directory");
        let socket = dir.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--databases", "1", "--save", ""])
            .args(["--proto-max-bulk-len", "64mb", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(dir.path())
            .arg("--unixsocket")
            .arg(&socket)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let endpoint = Endpoint::Unix(socket);
        let redis = Self { child, endpoint, _dir: dir };
        wait_until("redis-server to answer", || {
            let mut client = Client::connect(&redis.endpoint).ok()?;
            (client.try_call(["PING"]).ok()? == Frame::Simple("PONG".into())).then_some(())
        });
        Some(redis)
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have died already; there is nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
