//! Standalone as a process: its begin, its end, and its Postgres.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rootstock_tests::{
    process::Process,
    standalone::{DataDirectory, run},
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::{failure, rootstock};

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Waits until the condition holds; the test fails when it does not come to that.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within a minute: {what}");
}

#[tokio::test]
async fn it_starts_answers_and_ends_in_order() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let data = DataDirectory::new()?;
    let mut standalone = data.start().await?;
    let postgres = data.postgres_pid().expect("a Postgres");
    assert!(is_alive(postgres));

    let healthcheck = rootstock(&["healthcheck", "--admin", &standalone.admin.to_string()]).await?;
    assert_eq!(String::from_utf8(healthcheck.stdout)?, "ready\n");
    assert!(healthcheck.status.success());
    let metrics = reqwest::get(format!("http://{}/metrics", standalone.admin))
        .await?
        .text()
        .await?;
    assert!(
        metrics.contains("rootstock_build_info{service=\"rootstock\""),
        "{metrics}"
    );

    let authority = reqwest::Certificate::from_pem(&fs::read(&standalone.ca)?)?;
    let client = reqwest::Client::builder().tls_certs_only([authority]).build()?;
    let index = client
        .get(format!("https://{}/streams/v1/index.json", standalone.https))
        .send()
        .await?;
    assert_eq!(index.status(), 200);

    let output = standalone.process.output();
    let authority = standalone.ca.canonicalize()?.display().to_string();
    assert!(
        output.contains(&format!("install -D -m 644 {authority} ")),
        "{output}"
    );

    standalone.process.terminate()?;
    assert_eq!(standalone.process.wait().await?.code(), Some(0));
    assert!(!is_alive(postgres), "Postgres is still there");
    Ok(())
}

#[tokio::test]
async fn the_edge_shows_the_public_api_and_nothing_else() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", standalone.grpc))?
        .connect()
        .await?;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers
        .message()
        .await?
        .and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let services: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for public in ["ImageService", "RemoteService", "WatchService"] {
        let name = format!("rootstock.catalog.v1.{public}");
        assert!(services.contains(&name), "{services:?}");
    }
    assert!(
        !services.iter().any(|name| name.starts_with("rootstock.sync")),
        "{services:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_second_one_on_the_same_data_is_refused() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (said, code) = failure(&run(data.command()?).await?);
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let expected = format!(
        "another rootstock standalone (process {})",
        standalone.process.pid()
    );
    assert!(said.contains(&expected), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_killed_one_is_started_again_on_what_it_left() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let mut standalone = data.start().await?;
    standalone
        .ok(&["remote", "add", "kept", "https://127.0.0.1:1"])
        .await?;
    let left_behind = data.postgres_pid().expect("a Postgres");
    standalone.process.kill()?;
    assert!(
        is_alive(left_behind),
        "kill -9 leaves the child: what this test is about"
    );

    let mut standalone = data.start().await?;
    assert_ne!(data.postgres_pid(), Some(left_behind));
    eventually("the leftover is gone", || !is_alive(left_behind)).await;
    let remotes = standalone.ok(&["remote", "list"]).await?;
    assert!(remotes.contains("kept"), "{remotes}");
    standalone.process.terminate()?;
    assert_eq!(standalone.process.wait().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_postgres_that_dies_is_started_again() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let mut standalone = data.start().await?;
    let first = data.postgres_pid().expect("a Postgres");
    kill(Pid::from_raw(first), Signal::SIGKILL)?;
    eventually("another Postgres", || {
        data.postgres_pid()
            .is_some_and(|pid| pid != first && is_alive(pid))
    })
    .await;
    // The catalog finds its way back by itself.
    let mut is_back = false;
    for _ in 0..600 {
        is_back = standalone.run(&["image", "list"]).await?.status.success();
        if is_back {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(is_back, "the catalog does not come back");
    standalone.process.terminate()?;
    assert_eq!(standalone.process.wait().await?.code(), Some(0));
    let output = standalone.process.output();
    assert_eq!(output.matches("postgres died").count(), 1, "{output}");
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_takes_postgres_along() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let mut standalone = data.start().await?;
    let postgres = data.postgres_pid().expect("a Postgres");
    // Frozen, it cannot end in order.
    kill(Pid::from_raw(postgres), Signal::SIGSTOP)?;
    standalone.process.signal(Signal::SIGINT)?;
    standalone
        .process
        .wait_for_line("that it is ending", |line| {
            line.contains("a second signal ends at once").then_some(())
        })
        .await?;
    standalone.process.signal(Signal::SIGINT)?;
    assert_eq!(standalone.process.wait().await?.code(), Some(1));
    kill(Pid::from_raw(postgres), Signal::SIGCONT)?;
    eventually("Postgres is gone", || !is_alive(postgres)).await;
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_is_one_clear_line() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut command = rootstock_tests::process::command()?;
    command.arg("standalone").arg("--data-dir").arg(data.path());
    command.args(["--log-filter", "error", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--http-listen", "127.0.0.1:0", "--grpc-listen"]);
    command.arg(taken.local_addr()?.to_string());
    let (said, code) = failure(&run(command).await?);
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&format!("{} (grpc_listen)", taken.local_addr()?)),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_closed_directory_on_the_way_is_named() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // Who is not root runs Postgres himself, and goes where he can.
        return Ok(());
    }
    let data = DataDirectory::new()?;
    let closed = data.path().parent().expect("a parent").join("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let mut inside = rootstock_tests::process::command()?;
    inside
        .arg("standalone")
        .arg("--data-dir")
        .arg(closed.join("data"));
    inside.args(["--log-filter", "error"]);
    for listener in ["--grpc-listen", "--http-listen", "--admin-listen"] {
        inside.args([listener, "127.0.0.1:0"]);
    }
    let (said, code) = failure(&run(inside).await?);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!("{} cannot be entered by user", closed.display())),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn data_of_another_major_version_are_left_alone() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let mut standalone = data.start().await?;
    standalone.process.terminate()?;
    standalone.process.wait().await?;
    let version = data.path().join("postgres/data/PG_VERSION");
    fs::write(&version, "9\n")?;
    let mut process = Process::start("standalone", data.command()?)?;
    process
        .wait_for_line("the versions", |line| {
            (line.contains("was made by Postgres 9") && line.contains("ROOTSTOCK_PG_BIN")).then_some(())
        })
        .await?;
    assert_eq!(process.wait().await?.code(), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_deep_data_directory_gets_its_socket_elsewhere() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let deep = data.path().join("d".repeat(120));
    fs::create_dir_all(&deep)?;
    for directory in [data.path(), deep.clone()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o711))?;
    }
    let mut command = rootstock_tests::process::command()?;
    command.arg("standalone").arg("--data-dir").arg(deep.join("data"));
    for listener in ["--grpc-listen", "--http-listen", "--admin-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let mut standalone = rootstock_tests::standalone::Standalone::start(command, &deep.join("data")).await?;
    let list = standalone.ok(&["image", "list"]).await?;
    assert!(list.starts_with("ID "), "{list}");
    standalone.process.terminate()?;
    assert_eq!(standalone.process.wait().await?.code(), Some(0));
    Ok(())
}
