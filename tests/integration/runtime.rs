//! The runtime's promises, through real sockets.

mod admin;
mod client;
mod probe;
mod server;
mod trace;
