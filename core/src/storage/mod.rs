//! One partition: a directory, a Bitcask, a replicated log.

pub mod keydir;
