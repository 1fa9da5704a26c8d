//! The one executable: the command line, and the place where everything is wired together.
//!
//! Owns: what can be typed ([`cli`]), the configuration as a whole ([`config`]), how a process with
//! services in it begins and ends ([`process`]), which services are in it ([`serve`],
//! [`standalone`]), and the database of standalone ([`postgres`]). Refuses to know: what any service
//! does, and SQL beyond making an empty database.
//!
//! Where to start: [`standalone`] for how the parts fit together, [`cli`] for the commands.

pub mod cli;
pub mod config;
pub mod data_directory;
pub mod healthcheck;
pub mod postgres;
pub mod process;
pub mod serve;
pub mod standalone;
