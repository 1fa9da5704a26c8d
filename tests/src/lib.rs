//! The harness: real parts that tests and benchmarks put Rootstock between.
//!
//! Owns: a Postgres, an S3 server, image servers that fail on command, small real image trees, a proxy that
//! breaks connections, the built executable as a child process, and the unmodified `incus` and
//! `lxc` clients. Refuses to know: what Rootstock should do with them; that is said in
//! `tests/integration`. Start reading at [`remote::FakeRemote`] and [`tree::Tree`].
//!
//! Everything listens on loopback, on a port that was free, and ends with the test process, even
//! when that is killed. A part that is missing on this machine is handled in one place,
//! [`tools`]: the test says `NOT RUN` loudly, and fails where `CI` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: what goes wrong here is to fail the test that called"
)]

pub mod background;
pub mod catalog;
pub mod certificates;
pub mod clients;
pub mod cluster;
pub mod corpus;
pub mod fake_catalog;
pub mod fake_work;
pub mod fault_proxy;
pub mod guard;
pub mod indexes;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod processes;
pub mod receiver;
pub mod remote;
pub mod seaweed;
pub mod standalone;
pub mod statements;
pub mod telemetry;
pub mod tools;
pub mod tree;
pub mod uploads;
