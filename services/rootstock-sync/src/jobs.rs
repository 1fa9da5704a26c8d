//! The jobs of a worker, one file each. A new one is a file, and a line in [`run`].

mod collect;
mod deliver;
mod poll;
mod sweep;
mod transfer;
mod verify;

use std::sync::Arc;

use rootstock_runtime::Component;

use crate::{runner, worker::Worker};

/// Does work of every kind until the shutdown, and until everything under way has ended.
pub(crate) async fn run(worker: &Arc<Worker>, readiness: &Component) {
    tokio::join!(
        runner::run::<poll::Poll>(worker, readiness),
        runner::run::<transfer::TransferJob>(worker, readiness),
        runner::run::<verify::Verify>(worker, readiness),
        runner::run::<sweep::Sweep>(worker, readiness),
        runner::run::<collect::Collect>(worker, readiness),
        runner::run::<deliver::Deliver>(worker, readiness),
    );
}
