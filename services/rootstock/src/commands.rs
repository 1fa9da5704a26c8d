//! The commands that are a process with services in it, or prepare one.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use rootstock_cli::{Failure, block_on, print};
use serde::Serialize;

use crate::{
    config::{self, Config, Role},
    healthcheck::{self, Health},
    process, serve, standalone,
};

const STANDALONE_EXAMPLES: &str = "\
Examples:
  For a first look:
    rootstock standalone
  For a small site:
    rootstock standalone --data-dir /var/lib/rootstock --http-listen 0.0.0.0:8443
  With a Postgres of your own:
    ROOTSTOCK_CATALOG__DATABASE_URL=postgres://… rootstock standalone

It needs Postgres' server programs, but no running server: it looks after one of its
own. When it is ready it prints its addresses, and how incus and lxc come to trust it.";

/// Runs what this process was called with: one of these commands, or an operator's.
pub fn main() -> ExitCode {
    rootstock_cli::main::<ProcessCommand>()
}

#[derive(Debug, clap::Subcommand)]
enum ProcessCommand {
    Standalone(StandaloneArgs),
    Serve(ServeArgs),
    Migrate(MigrateArgs),
    CheckConfig(CheckConfigArgs),
    Healthcheck(HealthcheckArgs),
}

impl rootstock_cli::ProcessCommand for ProcessCommand {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Standalone(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Migrate(args) => args.run(),
            Self::CheckConfig(args) => args.run(),
            Self::Healthcheck(args) => block_on(args.run()),
        }
    }
}

/// Flags that lie over the configuration.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[command(next_help_heading = "Configuration (flags win over ROOTSTOCK_* variables, those over the file)")]
struct ConfigArgs {
    /// TOML file with the configuration; deploy/rootstock.toml shows every key
    #[arg(long, value_name = "FILE", env = "ROOTSTOCK_CONFIG", hide_env_values = true)]
    #[serde(skip)]
    config: Option<PathBuf>,

    /// Where standalone keeps everything [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Address for gRPC without TLS [default: 127.0.0.1:7443]
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<String>,

    /// Address for HTTPS: simplestreams, blobs, and gRPC [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,

    /// Address for /livez, /readyz and /metrics [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,

    #[command(flatten)]
    telemetry: TelemetryFlags,
}

#[derive(Debug, Clone, clap::Args, Serialize)]
struct TelemetryFlags {
    /// How log lines look, on standard error: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// What is logged: a level, or target=level separated by commas [default: info]
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

impl ConfigArgs {
    fn load(&self, role: Role) -> Result<Config, Failure> {
        config::load(role, self.config.clone(), self).map_err(|errors| Failure::usage(errors.to_string()))
    }
}

/// Run everything in one process, with a database and a store of its own
#[derive(Debug, clap::Args)]
#[command(after_help = STANDALONE_EXAMPLES)]
struct StandaloneArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl StandaloneArgs {
    fn run(self) -> Result<(), Failure> {
        let config = self.config.load(Role::Standalone)?;
        block_on_many(standalone::run(config, announce))
    }
}

/// Run one service
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Which one
    #[arg(value_enum)]
    service: Service,

    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Service {
    /// The catalog: owner of all metadata, over Postgres
    Catalog,
    /// A worker that polls remotes and moves blobs; run as many as you like
    Sync,
    /// The edge for incus, lxc and gRPC clients; run as many as you like
    Gateway,
}

impl ServeArgs {
    fn run(self) -> Result<(), Failure> {
        match self.service {
            Service::Catalog => block_on_many(serve::catalog(self.config.load(Role::Catalog)?, announce)),
            Service::Sync => block_on_many(serve::sync(self.config.load(Role::Sync)?, announce)),
            Service::Gateway => block_on_many(serve::gateway(self.config.load(Role::Gateway)?, announce)),
        }
    }
}

/// Bring the database (catalog.database_url) to the schema of this version
///
/// A step of its own, to be done before the catalog of a new version is started. Standalone does it by itself.
#[derive(Debug, clap::Args)]
struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl MigrateArgs {
    fn run(self) -> Result<(), Failure> {
        let config = self.config.load(Role::Catalog)?;
        block_on_many(serve::migrate(config))?;
        print("the database has the schema of this version\n")
    }
}

/// Print the configuration in force, secrets hidden, or everything that is wrong with it
#[derive(Debug, clap::Args)]
struct CheckConfigArgs {
    /// The process that it is for
    #[arg(long = "for", value_name = "PROCESS", value_enum, default_value_t = Role::Standalone)]
    role: Role,

    #[command(flatten)]
    config: ConfigArgs,
}

impl CheckConfigArgs {
    fn run(self) -> Result<(), Failure> {
        let config = self.config.load(self.role)?;
        let text = config::print(&config).map_err(|error| Failure::failed(error.to_string()))?;
        print(&text)
    }
}

/// Ask a running process whether it is ready
#[derive(Debug, clap::Args)]
struct HealthcheckArgs {
    /// Its admin address
    #[arg(
        long,
        value_name = "ADDR",
        env = "ROOTSTOCK_ADMIN_LISTEN",
        hide_env_values = true
    )]
    #[arg(default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

impl HealthcheckArgs {
    async fn run(self) -> Result<(), Failure> {
        let Self { admin } = self;
        match healthcheck::ask(admin).await {
            Ok(Health::Ready) => print("ready\n"),
            Ok(Health::NotReady(missing)) => {
                Err(Failure::failed(format!("http://{admin} is not ready: {missing}")))
            }
            Err(error) => Err(Failure::failed(format!("http://{admin}: {error}"))),
        }
    }
}

/// Prints what a process says once it is ready. It goes on where nobody reads that.
fn announce(text: &str) {
    let _ = print(text);
}

fn block_on_many<F>(service: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), process::Error>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(service);
    // What still blocks a thread (a name being looked up) is not waited for.
    runtime.shutdown_background();
    outcome.map_err(|error| Failure::failed(error.to_string()))
}

#[cfg(test)]
mod tests;
