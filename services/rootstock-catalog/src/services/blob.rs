//! `BlobService`.

use rootstock_model::Digest;
use rootstock_proto::{
    Error,
    catalog::v1::{
        BlobFilter, CollectBlobsRequest, CollectBlobsResponse, ListBlobsRequest, ListBlobsResponse,
        blob_service_server::BlobService,
    },
    sync::v1::WorkKind,
};
use rootstock_runtime::propagate::current_traceparent;
use tonic::{Request, Response};

use crate::{
    Catalog,
    failure::Failure,
    queries::{
        needs, settings,
        work::{self, STORE},
    },
    request::{self, PageStart},
};

/// Blobs that a dry run shows.
const SHOWN: i64 = 1000;

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
    let limit = request::page_size(request.page_size)?;
    let start = PageStart::parse(&request.page_token, 1)?;
    let after = match start.part(0) {
        "" => None,
        hex => {
            let digest: Result<Digest, _> = hex.parse();
            let unknown = |_| Error::invalid("page_token", "is none that was given out");
            Some(digest.map_err(unknown)?)
        }
    };
    let needed = match request.filter() {
        BlobFilter::Unspecified => None,
        BlobFilter::Needed => Some(true),
        BlobFilter::Unneeded => Some(false),
    };
    let mut connection = catalog.pool.acquire().await?;
    let grace = settings::load(&mut connection).await?.deletion_grace;
    let key = after.as_ref().map_or(&[][..], |digest| digest.as_bytes());
    let mut blobs = needs::page(&mut connection, needed, key, grace, limit + 1).await?;
    let more = request::has_next(&mut blobs, limit);
    let totals = match after {
        None => Some(needs::totals(&mut connection, grace).await?),
        Some(_) => None,
    };
    let next_page_token = blobs
        .last()
        .filter(|_| more)
        .map_or_else(String::new, |blob| PageStart::after(&[&blob.sha256]));
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
    let blobs = needs::page(&mut connection, Some(false), &[], grace, SHOWN).await?;
    if !request.dry_run {
        let traceparent = current_traceparent().unwrap_or_default();
        work::nudge(&mut connection, WorkKind::Collect, STORE, &traceparent).await?;
    }
    Ok(CollectBlobsResponse {
        totals: Some(totals),
        blobs,
    })
}
