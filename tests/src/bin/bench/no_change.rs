//! A poll that finds nothing new, which is nearly every poll.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use http::StatusCode;
use rootstock_proto::catalog::v1::Remote;
use rootstock_tests::{postgres::Postgres, tree::PRODUCTS_PATH};

use crate::{
    Settings,
    cluster::{Cluster, Store},
    image_server::ImageServer,
    mirror::IMAGES,
    peers,
    table::{Spread, Table},
};

/// Polls for each run that is asked for: they are short.
const POLLS_PER_RUN: usize = 20;

/// Measures and prints.
pub(crate) async fn measure(postgres: &Postgres, settings: Settings) -> anyhow::Result<()> {
    let polls = settings.runs * POLLS_PER_RUN;
    eprintln!("polling without a change");
    let directory = tempfile::tempdir()?;
    let mut server = ImageServer::of_large_images(directory.path(), IMAGES)?;
    println!("## A poll that finds nothing new\n\nMedian of {polls} (least–most).\n");
    let mut table = Table::new(&["what", "wall ms", "requests"]);
    let rows = [
        (
            "conditional GET on an open connection",
            on_open_connection(&mut server, polls).await,
        ),
        (
            "curl, conditional GET, from start to end of the process",
            curl(&mut server, polls).await,
        ),
        (
            "**rootstock: from SyncRemote to the run's end**",
            rootstock(postgres, &mut server, polls).await,
        ),
    ];
    for (name, row) in rows {
        match row {
            Ok((times, requests)) => {
                table.add(vec![
                    name.to_owned(),
                    Spread::milliseconds(times).long(),
                    requests,
                ]);
            }
            Err(error) => table.add_not_run(name, &error),
        }
    }
    table.print();
    println!(
        "Rootstock's includes the call, the claim by the worker, the request to the remote, what is written to \
         Postgres, flushed to disk, and the answer to whoever asks every millisecond how the run stands.\n"
    );
    Ok(())
}

type Row = anyhow::Result<(Vec<Duration>, String)>;

async fn rootstock(postgres: &Postgres, server: &mut ImageServer, polls: usize) -> Row {
    let cluster = Cluster::start(postgres, Store::LocalDisk).await?;
    cluster.add_remote(server, Remote::default()).await?;
    cluster
        .wait_for(|status| u64::try_from(status.active_version_count) == Ok(IMAGES))
        .await?;
    server.forget_requests()?;
    let mut times = Vec::new();
    for _ in 0..polls {
        let start = Instant::now();
        let run = cluster.sync().await?;
        times.push(start.elapsed());
        let steps = run.plan.unwrap_or_default().steps;
        ensure!(steps.is_empty(), "nothing had changed, and the plan is {steps:?}");
    }
    requests(server, times)
}

async fn curl(server: &mut ImageServer, polls: usize) -> Row {
    let curl = peers::program("curl")?;
    let (url, etag) = (products_url(server), etag(server).await?);
    server.forget_requests()?;
    let mut times = Vec::new();
    for _ in 0..polls {
        let mut command = Command::new(&curl);
        command
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
            .arg(&server.ca_file)
            .args(["-H", &format!("If-None-Match: {etag}"), &url]);
        let start = Instant::now();
        let output = command.output()?;
        times.push(start.elapsed());
        ensure!(
            output.stdout == b"304",
            "curl got {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    requests(server, times)
}

async fn on_open_connection(server: &mut ImageServer, polls: usize) -> Row {
    let client = client(server)?;
    let (url, etag) = (products_url(server), etag_of(&client, server).await?);
    server.forget_requests()?;
    let mut times = Vec::new();
    for _ in 0..polls {
        let start = Instant::now();
        let request = client.get(&url).header(http::header::IF_NONE_MATCH, &etag);
        let status = request.send().await?.status();
        times.push(start.elapsed());
        ensure!(status == StatusCode::NOT_MODIFIED, "the server answers {status}");
    }
    requests(server, times)
}

/// The times, and the requests that each took.
fn requests(server: &mut ImageServer, times: Vec<Duration>) -> Row {
    let all = server.count_requests()?;
    ensure!(
        all == times.len(),
        "{} polls took {all} requests, and each should take one",
        times.len()
    );
    Ok((times, "1".to_owned()))
}

fn products_url(server: &ImageServer) -> String {
    format!("{}/{PRODUCTS_PATH}", server.url)
}

fn client(server: &ImageServer) -> anyhow::Result<reqwest::Client> {
    let authority = reqwest::Certificate::from_pem(&fs::read(&server.ca_file)?)?;
    Ok(reqwest::Client::builder().tls_certs_only([authority]).build()?)
}

async fn etag(server: &ImageServer) -> anyhow::Result<String> {
    etag_of(&client(server)?, server).await
}

async fn etag_of(client: &reqwest::Client, server: &ImageServer) -> anyhow::Result<String> {
    let response = client
        .get(products_url(server))
        .send()
        .await?
        .error_for_status()?;
    let etag = response
        .headers()
        .get(http::header::ETAG)
        .context("an ETag")?
        .to_str()?
        .to_owned();
    response.bytes().await?;
    Ok(etag)
}
