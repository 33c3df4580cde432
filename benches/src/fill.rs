//! Many keys into a server that speaks Redis's protocol.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use indicatif::ProgressBar;

/// Commands sent before their replies are read.
const BATCH: u64 = 1_000;

/// The key with number `n`, as `redis-benchmark -r` names it: 16 bytes.
pub fn key(n: u64) -> String {
    format!("key:{n:012}")
}

/// Sets keys `0..keys` to values of `value_bytes`.
pub fn fill(
    mut stream: TcpStream,
    keys: u64,
    value_bytes: usize,
    bar: &ProgressBar,
) -> io::Result<()> {
    let mut replies = BufReader::new(stream.try_clone()?);
    let value = "x".repeat(value_bytes);
    let mut batch = Vec::new();
    let mut line = String::new();
    for first in (0..keys).step_by(BATCH as usize) {
        batch.clear();
        let last = (first + BATCH).min(keys);
        for n in first..last {
            let key = key(n);
            write!(
                batch,
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${value_bytes}\r\n{value}\r\n",
                key.len()
            )?;
        }
        stream.write_all(&batch)?;
        for _ in first..last {
            line.clear();
            replies.read_line(&mut line)?;
            if line != "+OK\r\n" {
                return Err(io::Error::other(format!("SET answers {line:?}")));
            }
        }
        bar.inc(last - first);
    }
    Ok(())
}
