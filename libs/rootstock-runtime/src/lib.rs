//! What every process of Rootstock needs: configuration, telemetry, an orderly end, health,
//! back-off, a throttle, and the stacks of layers that every gRPC server and client runs behind.
//!
//! It owns the rules that must be the same everywhere: which source of configuration wins, how a
//! trace crosses a process, in which order a request meets its limits, who waits for whom when the
//! process ends. It knows nothing about images, databases, object stores or TLS certificates, and
//! it has no idea which services exist.
//!
//! Where to start:
//!
//! 1. [`config::Loader`] turns defaults, file, environment and flags into one checked value.
//! 2. [`telemetry::init`] is called once per process, whatever number of services it runs.
//! 3. [`Shutdown`] is the word that everything ends; [`Tasks`] owns what has to.
//! 4. [`Readiness`] gathers what is not ready yet; [`serve_admin`] shows it to the outside.
//! 5. [`grpc::server`] and [`grpc::client`] hold the two stacks, each written down once.

pub mod admin;
pub mod config;
pub mod grpc;
pub mod health;
pub mod http;
pub mod propagate;
pub mod retry;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod throttle;

pub use admin::serve_admin;
pub use health::{Component, Readiness};
pub use shutdown::Shutdown;
pub use tasks::Tasks;
pub use telemetry::Telemetry;
