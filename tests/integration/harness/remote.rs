use std::time::Duration;

use futures::TryStreamExt as _;
use http::{HeaderName, StatusCode, header};
use reqwest::{Client, Response};
use rootstock_tests::remote::{Content, EVERY_PATH, FakeRemote, Fault};

fn client(remote: &FakeRemote) -> anyhow::Result<Client> {
    // One provider per process; whoever is second finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(remote.ca_pem().as_bytes())?;
    Ok(Client::builder()
        .tls_certs_only([ca])
        .redirect(reqwest::redirect::Policy::none())
        .build()?)
}

async fn get(remote: &FakeRemote, headers: &[(HeaderName, &str)]) -> anyhow::Result<Response> {
    let mut request = client(remote)?.get(format!("{}/dir/file", remote.url()));
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    Ok(request.send().await?)
}

fn alphabet() -> anyhow::Result<FakeRemote> {
    let remote = FakeRemote::https()?;
    remote.put("dir/file", "abcdefghijklmnopqrstuvwxyz")?;
    Ok(remote)
}

fn text<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

#[tokio::test]
async fn files_ranges_and_conditions() -> anyhow::Result<()> {
    let remote = alphabet()?;
    let whole = get(&remote, &[]).await?;
    assert_eq!(
        (whole.status(), whole.content_length()),
        (StatusCode::OK, Some(26))
    );
    let (etag, modified) = (
        text(&whole, "etag").to_owned(),
        text(&whole, "last-modified").to_owned(),
    );
    assert_eq!(whole.text().await?, "abcdefghijklmnopqrstuvwxyz");

    let part = get(
        &remote,
        &[(header::RANGE, "bytes=20-"), (header::IF_RANGE, &etag)],
    )
    .await?;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(text(&part, "content-range"), "bytes 20-25/26");
    assert_eq!(part.text().await?, "uvwxyz");

    let same = get(&remote, &[(header::IF_NONE_MATCH, &etag)]).await?;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    let same = get(&remote, &[(header::IF_MODIFIED_SINCE, &modified)]).await?;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);

    remote.put("dir/file", "ABC")?;
    let other = get(
        &remote,
        &[(header::RANGE, "bytes=20-"), (header::IF_RANGE, &etag)],
    )
    .await?;
    assert_eq!(
        (other.status(), other.text().await?.as_str()),
        (StatusCode::OK, "ABC")
    );
    let other = get(&remote, &[(header::IF_MODIFIED_SINCE, &modified)]).await?;
    assert_eq!(other.status(), StatusCode::OK);

    let head = client(&remote)?
        .head(format!("{}/dir%2Ffile", remote.url()))
        .send()
        .await?;
    assert_eq!(text(&head, "content-length"), "3");
    remote.remove("dir/file");
    assert_eq!(get(&remote, &[]).await?.status(), StatusCode::NOT_FOUND);

    let requests = remote.requests_for("dir/file");
    assert_eq!(requests[0].bytes_sent, 26);
    assert_eq!(
        (requests[1].range(), requests[1].bytes_sent),
        (Some("bytes=20-"), 6)
    );
    assert!(requests[2].is_conditional() && requests[3].is_conditional());
    assert_eq!(requests[3].status, Some(StatusCode::NOT_MODIFIED));
    assert_eq!(
        requests.last().map(|request| request.status),
        Some(Some(StatusCode::NOT_FOUND))
    );
    Ok(())
}

#[tokio::test]
async fn statuses_come_as_often_as_scheduled() -> anyhow::Result<()> {
    let remote = alphabet()?;
    remote.fault_times(
        "dir/file",
        2,
        Fault::Status {
            code: 503,
            retry_after: Some("7".to_owned()),
        },
    );
    remote.fault_times(
        "dir/file",
        1,
        Fault::Redirect {
            code: 302,
            location: "https://elsewhere/".to_owned(),
        },
    );
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let response = get(&remote, &[]).await?;
        let header = [text(&response, "retry-after"), text(&response, "location")].concat();
        statuses.push((response.status().as_u16(), header));
    }
    let wanted = [(503, "7"), (503, "7"), (302, "https://elsewhere/"), (200, "")];
    assert_eq!(
        statuses,
        wanted.map(|(status, header)| (status, header.to_owned()))
    );
    Ok(())
}

#[tokio::test]
async fn the_file_itself_can_be_wrong() -> anyhow::Result<()> {
    let remote = alphabet()?;
    for (fault, wanted) in [
        (
            Fault::FlipByte { offset: 1 },
            b"a\x9dcdefghijklmnopqrstuvwxyz".to_vec(),
        ),
        (Fault::Truncate { bytes: 3 }, b"abc".to_vec()),
        (
            Fault::Extra { bytes: 2 },
            b"abcdefghijklmnopqrstuvwxyz\0\0".to_vec(),
        ),
        (Fault::Chunked, b"abcdefghijklmnopqrstuvwxyz".to_vec()),
    ] {
        remote.fault_times("dir/file", 1, fault.clone());
        let response = get(&remote, &[]).await?;
        let length = (fault != Fault::Chunked).then_some(wanted.len() as u64);
        assert_eq!(response.content_length(), length, "{fault:?}");
        assert_eq!(response.bytes().await?, wanted, "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn resuming_can_be_made_impossible() -> anyhow::Result<()> {
    let remote = alphabet()?;
    let etag = text(&get(&remote, &[]).await?, "etag").to_owned();
    remote.fault_times("dir/file", 1, Fault::IgnoreRange);
    remote.fault_times("dir/file", 1, Fault::ChangeValidators);
    remote.fault_times("dir/file", 1, Fault::NoValidators);
    for why in [
        "the range is ignored",
        "the ETag is another one",
        "there is no ETag",
    ] {
        let response = get(
            &remote,
            &[(header::RANGE, "bytes=20-"), (header::IF_RANGE, &etag)],
        )
        .await?;
        assert_eq!(response.status(), StatusCode::OK, "{why}");
        assert_ne!(
            text(&response, "etag") == etag,
            why != "the range is ignored",
            "{why}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_body_can_break_off_stall_or_crawl() -> anyhow::Result<()> {
    let remote = FakeRemote::https()?;
    remote.put("dir/file", Content::generated(1, b"", 300_000))?;

    remote.fault_times("dir/file", 1, Fault::CloseAfter { bytes: 100_000 });
    let mut response = get(&remote, &[]).await?;
    let mut received = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => panic!("the body ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(received, 100_000);

    remote.fault_times("dir/file", 1, Fault::StallAfter { bytes: 100_000 });
    let mut response = get(&remote, &[]).await?;
    let mut received = 0;
    while received < 100_000 {
        received += response.chunk().await?.map_or(0, |chunk| chunk.len());
    }
    let next = tokio::time::timeout(Duration::from_millis(200), response.chunk()).await;
    assert!(next.is_err(), "nothing comes after the stall");

    remote.fault_times(
        "dir/file",
        1,
        Fault::Slow {
            bytes_per_second: 3_000_000,
        },
    );
    assert_eq!(get(&remote, &[]).await?.bytes().await?.len(), 300_000);

    remote.forget_requests();
    remote.fault(EVERY_PATH, Fault::HangBeforeHeaders);
    // Long enough for the request to get there.
    let hung = tokio::time::timeout(Duration::from_secs(2), get(&remote, &[])).await;
    assert!(hung.is_err(), "no headers come");
    assert_eq!(remote.requests()[0].status, None);
    remote.clear_faults(EVERY_PATH);
    assert_eq!(get(&remote, &[]).await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_stopped_remote_refuses_and_comes_back_on_its_port() -> anyhow::Result<()> {
    let mut remote = alphabet()?;
    remote.stop();
    assert!(get(&remote, &[]).await.is_err());
    remote.start()?;
    assert_eq!(get(&remote, &[]).await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn plain_http_is_served_too() -> anyhow::Result<()> {
    let remote = FakeRemote::http()?;
    remote.put("dir/file", "abc")?;
    assert!(remote.url().starts_with("http://"));
    assert_eq!(get(&remote, &[]).await?.text().await?, "abc");
    Ok(())
}

#[test]
fn generated_bytes_are_the_same_however_they_are_read() -> anyhow::Result<()> {
    const SIZE: usize = 3 << 20;
    let content = Content::generated(7, b"magic", SIZE as u64);
    let mut whole = Vec::new();
    content.copy_to(&mut whole)?;
    assert_eq!(whole.len(), SIZE);
    assert!(whole.starts_with(b"magic"));
    assert_ne!(whole[1 << 20..2 << 20], whole[2 << 20..]);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for start in [0, 3, 5, 9, (1 << 20) - 1, (1 << 20) + 3, 2 << 20, SIZE - 1] {
        let end = SIZE.min(start + 200_000);
        let stream = content.stream(start as u64..end as u64);
        let chunks: Vec<_> = runtime.block_on(stream.try_collect())?;
        assert_eq!(chunks.concat(), whole[start..end], "from {start}");
    }
    Ok(())
}
