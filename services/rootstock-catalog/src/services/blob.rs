//! `BlobService`.

use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{
    BlobFilter, CollectBlobsRequest, CollectBlobsResponse, ListBlobsRequest, ListBlobsResponse,
    blob_service_server::BlobService,
};
use rootstock_runtime::propagate::current_traceparent;
use tonic::{Request, Response};

use crate::{
    Catalog,
    failure::Failure,
    page::{Page, PageStart, unknown_token},
    queries::{needs, settings},
    work::{Kind, Subject, schedule},
};

/// Blobs that a dry run shows.
const SHOWN: i32 = 1000;

/// The service.
pub(crate) struct Blobs(pub Catalog);

#[tonic::async_trait]
impl BlobService for Blobs {
    async fn list_blobs(
        &self,
        request: Request<ListBlobsRequest>,
    ) -> Result<Response<ListBlobsResponse>, tonic::Status> {
        Ok(Response::new(list(&self.0, request.into_inner()).await?))
    }

    async fn collect_blobs(
        &self,
        request: Request<CollectBlobsRequest>,
    ) -> Result<Response<CollectBlobsResponse>, tonic::Status> {
        Ok(Response::new(collect(&self.0, request.into_inner()).await?))
    }
}

async fn list(catalog: &Catalog, request: ListBlobsRequest) -> Result<ListBlobsResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
    let is_first = request.page_token.is_empty();
    let needed = match request.filter() {
        BlobFilter::Unspecified => None,
        BlobFilter::Needed => Some(true),
        BlobFilter::Unneeded => Some(false),
    };
    let mut connection = catalog.pool.acquire().await?;
    let grace = settings::load(&mut connection).await?.deletion_grace;
    while let Some(rows) = page.wants() {
        let after = match page.after().part(0) {
            "" => None,
            hex => Some(hex.parse::<Digest>().map_err(|_| unknown_token())?),
        };
        let blobs = needs::page(&mut connection, needed, after, grace, rows).await?;
        page.add(blobs, |blob| PageStart::of(&[&blob.sha256]));
    }
    let totals = match is_first {
        true => Some(needs::totals(&mut connection, grace).await?),
        false => None,
    };
    let (blobs, next_page_token) = page.end();
    Ok(ListBlobsResponse {
        blobs,
        next_page_token,
        totals,
    })
}

async fn collect(catalog: &Catalog, request: CollectBlobsRequest) -> Result<CollectBlobsResponse, Failure> {
    let mut connection = catalog.pool.acquire().await?;
    let grace = settings::load(&mut connection).await?.deletion_grace;
    let totals = needs::totals(&mut connection, grace).await?;
    let mut blobs = Page::begin(SHOWN, PageStart::default())?;
    while let Some(rows) = blobs.wants() {
        let after = blobs.after().part(0).parse().ok();
        let unneeded = needs::page(&mut connection, Some(false), after, grace, rows).await?;
        blobs.add(unneeded, |blob| PageStart::of(&[&blob.sha256]));
    }
    let (blobs, _) = blobs.end();
    if !request.dry_run {
        let traceparent = current_traceparent().unwrap_or_default();
        schedule::wake(&mut connection, Kind::Collect, &Subject::Store, &traceparent).await?;
    }
    Ok(CollectBlobsResponse {
        totals: Some(totals),
        blobs,
    })
}
