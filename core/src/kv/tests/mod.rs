//! Tests of whole commands, by behaviour.

mod acks;
mod acl;
mod bitmaps;
mod commands;
mod float;
mod golden;
mod introspection;
mod limits;
mod objects;
mod operations;
mod stops;
mod transactions;
mod txn;
mod world;
