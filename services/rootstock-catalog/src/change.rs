//! Changes: how anything that the catalog promises is changed.
//!
//! [`Writer`] begins a change and collects what changed; `log` says which resources are logged and
//! reads them. On the writer stand the rules of what follows:
//! `activation` (versions become visible), `retention` (older ones are retired) and `follow` (added
//! images take what their origin shows). [`commit`] runs the rules that hold for every change,
//! appends the collected changes to the log, and ends the transaction. None of them is known to the
//! modules below it.

pub(crate) mod activation;
mod commit;
mod follow;
pub(crate) mod log;
pub(crate) mod retention;
mod writer;

pub(crate) use commit::commit;
pub(crate) use writer::Writer;
