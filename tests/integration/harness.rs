//! The harness itself: that its parts do what the other tests rely on.

mod clients;
mod fault_proxy;
mod postgres;
mod process;
mod remote;
mod tree;
