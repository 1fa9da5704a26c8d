//! gRPC at the edge.

use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use http::{StatusCode, header};
use rootstock_proto::{
    Error,
    catalog::v1::{
        GetImageRequest, ListImagesRequest, WatchRequest, change::Resource,
        image_service_client::ImageServiceClient, remote_service_client::RemoteServiceClient,
        watch_service_client::WatchServiceClient,
    },
    sync::v1::{ClaimRequest, work_service_client::WorkServiceClient},
};
use rootstock_tests::fault_proxy::Behaviour;
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::{Gateway, PATIENCE, Site, created, header, image, text_of};

pub(super) async fn over_tls(gateway: &Gateway) -> anyhow::Result<Channel> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&gateway.ca_pem));
    Ok(Channel::from_shared(gateway.url(""))?
        .tls_config(tls)?
        .connect()
        .await?)
}

async fn in_clear(gateway: &Gateway) -> anyhow::Result<Channel> {
    Ok(Channel::from_shared(format!("http://{}", gateway.grpc))?
        .connect()
        .await?)
}

async fn both_ways(gateway: &Gateway) -> anyhow::Result<[Channel; 2]> {
    Ok([over_tls(gateway).await?, in_clear(gateway).await?])
}

#[tokio::test]
async fn public_calls_pass_with_all_they_bear() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    for channel in both_ways(&gateway).await? {
        let mut client = ImageServiceClient::new(channel);
        let mut request = Request::new(ListImagesRequest::default());
        request.set_timeout(Duration::from_secs(20));
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request.metadata_mut().insert("traceparent", traceparent.parse()?);
        request.metadata_mut().insert("x-request-id", "my-own".parse()?);
        let images = client.list_images(request).await?.into_inner().images;
        assert_eq!(images.len(), 1);
        let calls = site.catalog.calls();
        let call = calls
            .iter()
            .rfind(|call| call.path.ends_with("/ListImages"))
            .context("it arrived")?;
        assert!(
            call.headers["traceparent"]
                .to_str()?
                .contains("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert_eq!(call.headers["x-request-id"], "my-own");
        assert!(call.headers.contains_key("grpc-timeout"), "{:?}", call.headers);

        // An error comes with its details.
        let request = GetImageRequest {
            image: "nonesuch".into(),
            ..GetImageRequest::default()
        };
        let status = client.get_image(request).await.unwrap_err();
        let Some(Error::NotFound { name, .. }) = Error::from_status(&status) else {
            panic!("{status:?}")
        };
        assert_eq!(name, "nonesuch");
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_watch_passes_as_it_comes_and_ends_with_the_gateway() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let mut streams = Vec::new();
    for channel in both_ways(&gateway).await? {
        let request = WatchRequest {
            initial_state: true,
            ..WatchRequest::default()
        };
        streams.push(
            WatchServiceClient::new(channel)
                .watch(request)
                .await?
                .into_inner(),
        );
    }
    site.catalog.commit(created([image("i7", "seen-by-watchers")]));
    for stream in &mut streams {
        let seen = async {
            while let Some(response) = stream.next().await {
                let is_it =
                    |resource: &Resource| matches!(resource, Resource::Image(image) if image.id == "i7");
                if response?
                    .changes
                    .iter()
                    .filter_map(|change| change.resource.as_ref())
                    .any(is_it)
                {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("the stream ended")
        };
        tokio::time::timeout(PATIENCE, seen).await??;
    }
    gateway.stop().await?;
    for stream in &mut streams {
        let end = async {
            loop {
                if let Err(status) = stream.message().await {
                    return status;
                }
            }
        };
        assert_eq!(
            tokio::time::timeout(PATIENCE, end).await?.code(),
            Code::Unavailable
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_public_does_not_exist() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let before = site.catalog.calls().len();
    for channel in both_ways(&gateway).await? {
        let status = WorkServiceClient::new(channel)
            .claim(ClaimRequest::default())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
    for path in [
        "/made.up.v1.Service/Method",
        "/rootstock.catalog.v1.Nonesuch/Get",
        "/rootstock.sync.v1.WorkService/Claim",
    ] {
        let call = gateway
            .client
            .post(gateway.url(path))
            .header(header::CONTENT_TYPE, "application/grpc+proto");
        let answer = call.send().await?;
        assert_eq!(header(&answer, "grpc-status"), "12", "{path}: {answer:?}");
    }
    assert_eq!(
        site.catalog.calls().len(),
        before,
        "none of it reached the catalog"
    );
    gateway.stop().await
}

#[tokio::test]
async fn a_catalog_that_is_away_stops_calls_and_nothing_else() -> anyhow::Result<()> {
    let (site, root) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    site.proxy.set(Behaviour::Refuse);
    for channel in both_ways(&gateway).await? {
        let status = RemoteServiceClient::new(channel)
            .list_remotes(rootstock_proto::catalog::v1::ListRemotesRequest::default())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(
            status.message().contains("catalog cannot be reached"),
            "{status:?}"
        );
        assert!(!status.message().contains("127.0.0.1"), "{status:?}");
    }
    assert_eq!(
        text_of(gateway.blob(&root, &[]).await?, StatusCode::OK).await?,
        "root"
    );
    site.proxy.set(Behaviour::Pass);
    let mut client = ImageServiceClient::new(over_tls(&gateway).await?);
    let until_back = async {
        while client.list_images(ListImagesRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, until_back).await?;
    gateway.stop().await
}

#[tokio::test]
async fn health_and_both_reflections_are_the_gateways_own() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    site.proxy.set(Behaviour::Refuse);
    for channel in both_ways(&gateway).await? {
        for service in ["", "rootstock.catalog.v1.ImageService"] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let health = HealthClient::new(channel.clone())
                .check(request)
                .await?
                .into_inner();
            assert_eq!(health.status(), ServingStatus::Serving);
        }
        let listed = [
            services_v1(channel.clone()).await?,
            services_v1alpha(channel).await?,
        ];
        for services in listed {
            assert!(
                services.contains(&"rootstock.catalog.v1.WatchService".to_owned()),
                "{services:?}"
            );
            assert!(
                services.contains(&"grpc.health.v1.Health".to_owned()),
                "{services:?}"
            );
            assert!(
                !services.iter().any(|service| service.contains("sync")),
                "{services:?}"
            );
        }
    }
    gateway.stop().await
}

async fn services_v1(channel: Channel) -> anyhow::Result<Vec<String>> {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let requests = futures::stream::iter([request]);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(requests)
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        anyhow::bail!("{answer:?}")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

async fn services_v1alpha(channel: Channel) -> anyhow::Result<Vec<String>> {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let requests = futures::stream::iter([request]);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(requests)
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        anyhow::bail!("{answer:?}")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}
