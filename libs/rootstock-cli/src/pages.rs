//! Lists, which come in pages.

use rootstock_proto::catalog::v1::{
    Alias, Application, Blob, Image, LeftOut, ListAliasesRequest, ListAliasesResponse,
    ListApplicationsRequest, ListApplicationsResponse, ListBlobsRequest, ListBlobsResponse,
    ListImagesRequest, ListImagesResponse, ListLeftOutRequest, ListLeftOutResponse, ListRemotesRequest,
    ListRemotesResponse, ListTransfersRequest, ListTransfersResponse, ListWebhooksRequest,
    ListWebhooksResponse, Remote, Transfer, Webhook,
};
use tonic::{Response, Status};

/// Asked for per page: the most that a server gives.
pub(crate) const PAGE_SIZE: i32 = 1000;

/// A request for a page of a list.
pub(crate) trait ListRequest: Clone {
    /// The answer.
    type Page;
    /// What is listed.
    type Item;

    /// The same request, for the page that this token names; an empty one names the first.
    fn at(&self, page_token: String) -> Self;

    /// What the page holds, and the token of the next one; empty on the last.
    fn items(page: Self::Page) -> (Vec<Self::Item>, String);
}

macro_rules! lists {
    ($($request:ident: $page:ident.$items:ident of $item:ident;)*) => {$(
        impl ListRequest for $request {
            type Page = $page;
            type Item = $item;

            fn at(&self, page_token: String) -> Self {
                let mut request = self.clone();
                request.page_size = PAGE_SIZE;
                request.page_token = page_token;
                request
            }

            fn items(page: $page) -> (Vec<$item>, String) {
                (page.$items, page.next_page_token)
            }
        }
    )*};
}

lists! {
    ListAliasesRequest: ListAliasesResponse.aliases of Alias;
    ListApplicationsRequest: ListApplicationsResponse.applications of Application;
    ListBlobsRequest: ListBlobsResponse.blobs of Blob;
    ListImagesRequest: ListImagesResponse.images of Image;
    ListLeftOutRequest: ListLeftOutResponse.left_out of LeftOut;
    ListRemotesRequest: ListRemotesResponse.remotes of Remote;
    ListTransfersRequest: ListTransfersResponse.transfers of Transfer;
    ListWebhooksRequest: ListWebhooksResponse.webhooks of Webhook;
}

/// The whole list, page after page.
///
/// # Errors
/// The first page that failed.
pub(crate) async fn all<R: ListRequest>(
    request: &R,
    mut call: impl AsyncFnMut(R) -> Result<Response<R::Page>, Status>,
) -> Result<Vec<R::Item>, Status> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let page = call(request.at(token)).await?;
        let (items, next) = R::items(page.into_inner());
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_followed_to_the_last() {
        let request = ListAliasesRequest {
            name: "a*".into(),
            ..ListAliasesRequest::default()
        };
        let all_aliases = all(&request, async |request| {
            assert_eq!((request.page_size, request.name.as_str()), (PAGE_SIZE, "a*"));
            let page: usize = request.page_token.parse().unwrap_or(0);
            let alias = |number: usize| Alias {
                name: number.to_string(),
                ..Alias::default()
            };
            Ok(Response::new(ListAliasesResponse {
                aliases: vec![alias(page * 10), alias(page * 10 + 1)],
                next_page_token: match page {
                    2 => String::new(),
                    page => (page + 1).to_string(),
                },
            }))
        });
        let names: Vec<_> = all_aliases
            .await
            .unwrap()
            .into_iter()
            .map(|alias| alias.name)
            .collect();
        assert_eq!(names, ["0", "1", "10", "11", "20", "21"]);
        let failed = all(&request, async |_| Err(Status::unavailable("gone"))).await;
        assert_eq!(failed.unwrap_err().code(), tonic::Code::Unavailable);
    }
}
