//! Integration tests: one binary, one module per theme.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are tests"
)]

mod blobs;
mod catalog;
mod conformance;
mod content;
mod deploy;
mod executable;
mod faults;
mod gateway;
mod harness;
mod how_to;
mod ingest;
mod layout;
mod lint;
mod mirror;
mod promises;
mod runtime;
mod sync;
mod timed;
mod webhooks;
