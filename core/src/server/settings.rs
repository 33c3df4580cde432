//! What can be changed while the node runs: CONFIG SET.

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Clients of other machines are refused while the user `default` needs no password.
    pub protected_mode: bool,
    /// Clients at once.
    pub max_clients: u32,
    /// As many as the system has open files for.
    pub max_clients_possible: u32,
    /// Clients that say nothing for longer are closed, in seconds; 0 is never.
    pub timeout_s: u64,
    /// How long a new connection may be silent before the system asks whether the client is there
    /// still, in seconds; 0 is never.
    pub keepalive_s: u64,
    /// Commands that took longer are in the slow log, in microseconds; none if not said.
    pub slower_than_us: Option<u64>,
    /// Entries of the slow log.
    pub slowlog_len_max: usize,
    /// What took as long is in the latency history, in milliseconds; 0 is nothing.
    pub latency_threshold_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protected_mode: true,
            max_clients: 10_000,
            max_clients_possible: u32::MAX,
            timeout_s: 0,
            keepalive_s: 300,
            slower_than_us: Some(10_000),
            slowlog_len_max: 128,
            latency_threshold_ms: 0,
        }
    }
}
