//! Tests of whole commands, by behaviour.

mod golden;
mod world;
