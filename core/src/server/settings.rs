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
            slower_than_us: Some(10_000),
            slowlog_len_max: 128,
            latency_threshold_ms: 0,
        }
    }
}
