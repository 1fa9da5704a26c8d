//! Answers that no honest server gives, byte for byte.

use std::{
    io::Write as _,
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::GzEncoder};
use rootstock_proto::{
    catalog::v1::Remote,
    sync::v1::{PollTask, TransferSource, work::Task},
};
use rootstock_tests::{
    fake_work::{Call, Outcome},
    remote::Content,
    tree::{INDEX_PATH, PRODUCTS_PATH},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Stage, error_of, transfer_of};

/// A server that sends these bytes for these requests, and closes each connection.
struct Canned {
    url: String,
    /// The heads of the requests so far.
    requests: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Canned {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let record = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let _ = stream.write_all(&answer(&head)).await;
                record.lock().unwrap().push(head);
            }
        });
        Self {
            url,
            requests,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    fn remote(&self) -> Remote {
        Remote {
            name: "canned".to_owned(),
            url: self.url.clone(),
            ..Remote::default()
        }
    }

    fn source(&self, size: u64) -> TransferSource {
        TransferSource {
            remote: Some(self.remote()),
            path: "blob".to_owned(),
            size_bytes: size as i64,
            artifact: None,
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn pack(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn poll(stage: &Stage, server: &Canned) -> Call {
    let task = PollTask {
        remote: Some(server.remote()),
        ..PollTask::default()
    };
    let lease = stage.catalog.give(Task::Poll(task));
    stage.catalog.outcome(lease).await.unwrap()
}

#[tokio::test]
async fn a_packed_index_is_unpacked() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let entry = json!({"datatype": "image-downloads", "path": PRODUCTS_PATH, "products": ["x"]});
    let index = json!({"format": "index:1.0", "index": {"images": entry}}).to_string();
    let products = json!({"format": "products:1.0", "products": {}}).to_string();
    let server = Canned::start(move |request| {
        let text = if request.contains(INDEX_PATH) {
            &index
        } else {
            &products
        };
        assert!(
            request.to_lowercase().contains("accept-encoding: gzip"),
            "{request}"
        );
        answer("200 OK", &["Content-Encoding: gzip"], &pack(text))
    })
    .await;
    let Call::SubmitSnapshot(submitted) = poll(&stage, &server).await else {
        panic!("it failed")
    };
    let paths: Vec<_> = submitted
        .documents
        .iter()
        .map(|document| &*document.path)
        .collect();
    assert_eq!(paths, [INDEX_PATH, PRODUCTS_PATH]);
    worker.stop().await;
}

#[tokio::test]
async fn documents_that_cannot_be_unpacked_or_are_too_large_say_so() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let bomb = pack(&" ".repeat((64 << 20) + 1));
    for (headers, body, expected) in [
        (&["Content-Encoding: gzip"][..], &b"{}"[..], "cannot be unpacked"),
        (&["Content-Encoding: br"], b"{}", "Content-Encoding \"br\""),
        (&["Content-Encoding: gzip"], &bomb, "larger than 64 MiB"),
        (&[], b"\x1f\x8b\x08", "gzip"),
    ] {
        let whole = answer("200 OK", headers, body);
        let server = Canned::start(move |_| whole.clone()).await;
        let failed = poll(&stage, &server).await;
        assert!(
            error_of(&failed).contains(expected),
            "{expected}: {}",
            error_of(&failed)
        );
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_condition_that_nobody_made_is_not_met() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let server = Canned::start(|_| answer("304 Not Modified", &[], b"")).await;
    let failed = poll(&stage, &server).await;
    assert!(
        error_of(&failed).contains("304 Not Modified"),
        "{}",
        error_of(&failed)
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_blob_that_comes_packed_or_in_part_is_refused() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let content = Content::from(b"0123456789".to_vec());
    for (status, headers, expected) in [
        (
            "200 OK",
            &["Content-Encoding: gzip"][..],
            "must send files as they are",
        ),
        (
            "206 Partial Content",
            &["Content-Range: bytes 0-9/10"],
            "206 Partial Content",
        ),
        ("204 No Content", &[], "204 No Content"),
    ] {
        let whole = answer(status, headers, b"0123456789");
        let server = Canned::start(move |_| whole.clone()).await;
        let failed = stage
            .transfer(transfer_of(&content, vec![server.source(10)]))
            .await;
        assert!(
            error_of(&failed).contains(expected),
            "{expected}: {}",
            error_of(&failed)
        );
    }
    worker.stop().await;
}

#[tokio::test]
async fn the_rest_of_something_else_is_not_taken() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let content = Content::from(b"0123456789".to_vec());
    for (status, header) in [
        ("206 Partial Content", "Content-Range: bytes 6-9/10"),
        ("206 Partial Content", "Content-Range: bytes 4-9/11"),
        ("206 Partial Content", "X: no range at all"),
        ("416 Range Not Satisfiable", "Content-Range: bytes */4"),
    ] {
        let short = answer("200 OK", &[], b"0123456789");
        // Cut after four bytes of the body.
        let cut = short[..short.len() - 6].to_vec();
        let first = Canned::start(move |_| cut.clone()).await;
        let header = header.to_owned();
        let second = Canned::start(
            move |request| match request.to_lowercase().contains("range: bytes=4-") {
                true => answer(status, &[&header], b"6789"),
                false => answer("200 OK", &[], b"0123456789"),
            },
        )
        .await;
        let task = transfer_of(&content, vec![first.source(10), second.source(10)]);
        let done = stage.transfer(task).await;
        assert!(matches!(done, Call::Finish(_, Outcome::Transfer(_))), "{done:?}");
        assert_eq!(second.requests().len(), 2);
        assert!(stage.holds(&content).await);
        stage.store.delete(&content.digest().unwrap()).await.unwrap();
    }
    worker.stop().await;
}
