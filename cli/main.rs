//! The `kvnode` binary.
fn main() {}
