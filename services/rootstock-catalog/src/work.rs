//! Work: what has to be done, kept as rows of one table and claimed by lease.
//!
//! [`kind`] lists the kinds of work, [`subject`] what a piece of work is about. [`schedule`] decides when
//! work is due and is the only code that writes `due_at`; [`claim`] waits for due work; [`lease`] checks that
//! whoever reports on work still holds it. [`kinds`] has one file for each kind, with its [`rules`]; workers
//! come to them through `services::work`, and [`runner`] does what needs no worker.

pub(crate) mod claim;
pub(crate) mod facts;
pub(crate) mod kind;
pub(crate) mod kinds;
pub(crate) mod lease;
pub(crate) mod rules;
pub(crate) mod runner;
pub(crate) mod schedule;
pub(crate) mod subject;

pub(crate) use kind::Kind;
pub(crate) use lease::{Lease, LeaseGuard};
pub(crate) use subject::Subject;
