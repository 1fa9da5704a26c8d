//! From a commit to those who watch.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rootstock_proto::catalog::v1::{
    CreateRemoteRequest, DeleteRemoteRequest, Remote, WatchRequest,
    remote_service_client::RemoteServiceClient, watch_service_client::WatchServiceClient,
};
use rootstock_tests::postgres::Postgres;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::Channel;

use crate::{
    Settings,
    reading::Served,
    table::{Spread, Table, digits},
    usage::PATIENCE,
};

/// Streams that share a connection.
const WATCHERS_PER_CONNECTION: usize = 100;
/// Changes for each run that is asked for.
const CHANGES_PER_RUN: usize = 20;

/// Measures and prints.
pub(crate) async fn measure(postgres: &Postgres, settings: Settings) -> anyhow::Result<()> {
    let changes = settings.runs * CHANGES_PER_RUN;
    println!("## Watching: from a change to whoever watches\n");
    println!(
        "{changes} changes, one at a time. From sending the call that makes the change, so that the call and its \
         flush to disk are in it, until a watcher has it. All watchers are in one process.\n"
    );
    let mut table = Table::new(&[
        "watchers",
        "the call alone, p50 ms",
        "p50 ms",
        "p99 ms",
        "slowest ms",
    ]);
    for watchers in [1, 1000] {
        eprintln!("watching with {watchers} watchers");
        match watch(postgres, watchers, changes).await {
            Ok((calls, heard)) => table.add(vec![
                watchers.to_string(),
                calls.short(),
                heard.short(),
                digits(heard.quantile(0.99)),
                digits(heard.quantile(1.0)),
            ]),
            Err(error) => table.add_not_run(&watchers.to_string(), &error),
        }
    }
    table.print();
    Ok(())
}

/// How long the calls took, and how long each watcher waited for each change.
async fn watch(postgres: &Postgres, watchers: usize, changes: usize) -> anyhow::Result<(Spread, Spread)> {
    let served = Served::start(postgres).await?;
    let url = format!("http://{}", served.address);
    let (sender, mut heard) = mpsc::channel(watchers);
    let mut streams = JoinSet::new();
    let mut channel = Channel::from_shared(url.clone())?.connect().await?;
    for number in 0..watchers {
        if number % WATCHERS_PER_CONNECTION == 0 {
            channel = Channel::from_shared(url.clone())?.connect().await?;
        }
        let mut client = WatchServiceClient::new(channel.clone());
        let mut stream = client.watch(WatchRequest::default()).await?.into_inner();
        let sender = sender.clone();
        streams.spawn(async move {
            while let Ok(Some(response)) = stream.message().await {
                // Without changes it only says that the stream lives.
                if !response.changes.is_empty() && sender.send(Instant::now()).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut remotes = RemoteServiceClient::new(channel);
    let (mut calls, mut waits) = (vec![], vec![]);
    for number in 0..changes {
        let start = Instant::now();
        // What one call makes the next removes: the catalog stays small.
        let name = "watched".to_owned();
        if number % 2 == 0 {
            let remote = Remote {
                name,
                url: "https://watched.invalid".to_owned(),
                ..Remote::default()
            };
            let request = CreateRemoteRequest { remote: Some(remote) };
            remotes.create_remote(request).await?;
        } else {
            remotes.delete_remote(DeleteRemoteRequest { name }).await?;
        }
        calls.push(start.elapsed());
        for _ in 0..watchers {
            let at = tokio::time::timeout(PATIENCE, heard.recv()).await?;
            waits.push(at.context("a watch ended")?.duration_since(start));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(waits.len() == watchers * changes, "{} words", waits.len());
    Ok((Spread::milliseconds(calls), Spread::milliseconds(waits)))
}
