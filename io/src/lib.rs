//! The tokio driver.

pub mod resp;
