//! The tokio driver.
#![forbid(unsafe_code)]

mod cache;
pub mod clock;
pub mod disk;
mod error;
mod executor;
mod lock;
pub mod resp;

pub use cache::HotValues;
pub use error::Error;
pub use lock::DirLock;
