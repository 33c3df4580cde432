//! Why a node could not run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why [`run`](crate::run) could not start, or ended other than by a graceful stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the data directory.
    #[error(
        "the data directory {} is in use by {}; stop that one first, or give this one a directory \
         of its own",
        dir.display(),
        holder(*.pid)
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, if the lock file tells.
        pid: Option<u32>,
    },
    /// The data directory can not be made, opened or locked.
    #[error("cannot use the data directory {}: {source}; check the path, its owner and its mode", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of the users can not be used.
    #[error("cannot use the ACL file {}: {why}", path.display())]
    Users {
        /// The file.
        path: PathBuf,
        /// What is wrong, by line.
        why: String,
    },
    /// The address can not be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_advice(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory was opened and can not be used, for the reason given.
    #[error("{0}")]
    Refused(String),
    /// A second signal came before the stop was complete. Everything acknowledged is durable; the
    /// next start has more to check.
    #[error(
        "ended by a second signal before the stop was complete: every acknowledged write is kept, \
         and the next start checks the log's tail"
    )]
    Interrupted,
    /// The system refuses what every process needs: threads, an event queue, signal handlers.
    #[error("cannot start: {0}; check the limits on threads and open files")]
    System(#[source] io::Error),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn listen_advice(source: &io::Error) -> &'static str {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of std's, open to new kinds")]
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it, or listen on another port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: take a higher one",
        _ => "check the address",
    }
}
