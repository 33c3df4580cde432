//! Tests of whole commands, by behaviour.

mod acks;
mod commands;
mod float;
mod golden;
mod introspection;
mod limits;
mod stops;
mod transactions;
mod txn;
mod world;
