//! Lists of remotes, of what their last polls left out, of plans, and of transfers.

use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        self as wire, ListLeftOutRequest, ListLeftOutResponse, ListRemotesRequest, ListRemotesResponse,
        ListSyncRunPlanRequest, ListSyncRunPlanResponse, ListTransfersRequest, ListTransfersResponse,
    },
};

use super::{by_name, transfer, with_status};
use crate::{
    Catalog,
    failure::Failure,
    page::{self, Page, PageStart, unknown_token},
    plan_pages::{self, Position},
    queries::{remotes, sync_runs, transfers},
};

pub(super) async fn remotes(
    catalog: &Catalog,
    request: ListRemotesRequest,
) -> Result<ListRemotesResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
    let mut connection = catalog.pool.acquire().await?;
    while let Some(rows) = page.wants() {
        let mut found = vec![];
        for row in remotes::list(&mut connection, page.after().part(0), rows).await? {
            found.push(with_status(&mut connection, row).await?);
        }
        page.add(found, |remote: &wire::Remote| PageStart::of(&[&remote.name]));
    }
    let (remotes, next_page_token) = page.end();
    Ok(ListRemotesResponse {
        remotes,
        next_page_token,
    })
}

pub(super) async fn left_out(
    catalog: &Catalog,
    request: ListLeftOutRequest,
) -> Result<ListLeftOutResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
    let mut connection = catalog.pool.acquire().await?;
    let remote = by_name(&mut connection, &request.remote).await?;
    while let Some(rows) = page.wants() {
        let after = match page.after().part(0) {
            "" => None,
            position => Some(position.parse().map_err(|_| unknown_token())?),
        };
        let found = remotes::left_out_page(&mut connection, remote.id, after, rows).await?;
        let keyed = found.into_iter().map(|(position, left_out)| {
            let key = PageStart::of(&[&position.to_string()]);
            (key, wire::LeftOut::from(left_out))
        });
        page.add_keyed(keyed.collect());
    }
    let (left_out, next_page_token) = page.end();
    Ok(ListLeftOutResponse {
        left_out,
        next_page_token,
    })
}

pub(super) async fn plan(
    catalog: &Catalog,
    request: ListSyncRunPlanRequest,
) -> Result<ListSyncRunPlanResponse, Failure> {
    let rows = page::rows(request.page_size)?;
    let from = Position::parse(&request.page_token)?;
    let mut connection = catalog.pool.acquire().await?;
    let part = sync_runs::plan_part(&mut connection, &request.id, from.part).await?;
    let part = part.ok_or_else(|| Error::not_found(ResourceKind::SyncRun, &request.id))?;
    let (steps, left_out, next_page_token) = plan_pages::page(part.plan, from, rows, part.is_last);
    Ok(ListSyncRunPlanResponse {
        steps,
        left_out,
        next_page_token,
    })
}

pub(super) async fn transfers(
    catalog: &Catalog,
    request: ListTransfersRequest,
) -> Result<ListTransfersResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let (remote, image_id) = (some(request.remote), some(request.image_id));
    let (remote, image_id) = (remote.as_deref(), image_id.as_deref());
    let mut connection = catalog.pool.acquire().await?;
    while let Some(rows) = page.wants() {
        let after = page.after().part(0);
        let found = transfers::list(&mut connection, remote, image_id, after, rows).await?;
        let found = found.into_iter().map(transfer).collect();
        page.add(found, |transfer: &wire::Transfer| {
            PageStart::of(&[&transfer.sha256])
        });
    }
    let (transfers, next_page_token) = page.end();
    Ok(ListTransfersResponse {
        transfers,
        next_page_token,
    })
}
