//! The one executable: the place where everything is wired together.
//!
//! Owns: the commands that run a process with services in it ([`commands`]; the operator's are
//! `rootstock_cli`'s), the configuration as a whole ([`config`]), how a process with
//! services in it begins and ends ([`process`]), which services are in it ([`serve`],
//! [`standalone`]), and the database of standalone ([`postgres`]). Refuses to know: what any service
//! does, and SQL beyond making an empty database.
//!
//! Where to start: [`standalone`] for how the parts fit together.

pub mod commands;
pub mod config;
pub mod data_directory;
pub mod healthcheck;
pub mod postgres;
pub mod process;
pub mod serve;
pub mod standalone;
