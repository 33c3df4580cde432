//! What can be changed while the node runs.

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Clients of other machines are refused while the user `default` needs no password.
    pub protected_mode: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { protected_mode: true }
    }
}
