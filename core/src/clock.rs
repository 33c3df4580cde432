//! The log clock.
