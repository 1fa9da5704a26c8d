//! `WebhookService`. Webhooks are nothing that the catalog promises to watchers, so that a change of
//! one has no revision.

use rand::RngCore as _;
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        self as wire, CreateWebhookRequest, CreateWebhookResponse, DeleteWebhookRequest,
        DeleteWebhookResponse, GetWebhookRequest, GetWebhookResponse, ListWebhooksRequest,
        ListWebhooksResponse, TestWebhookRequest, TestWebhookResponse, UpdateWebhookRequest,
        UpdateWebhookResponse, webhook_service_server::WebhookService,
    },
    convert,
    update::Mask,
};
use sqlx::PgConnection;
use tonic::{Request, Response};

use crate::{
    Catalog,
    failure::Failure,
    page::{Page, PageStart},
    queries::{
        changes,
        webhooks::{self, WebhookRow},
    },
};

/// Bytes of a secret that is made up here.
const SECRET_BYTES: usize = 32;

/// The service.
pub(crate) struct Webhooks(pub Catalog);

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_webhook(
        &self,
        request: Request<CreateWebhookRequest>,
    ) -> Result<Response<CreateWebhookResponse>, tonic::Status> {
        Ok(Response::new(create(&self.0, request.into_inner()).await?))
    }

    async fn get_webhook(
        &self,
        request: Request<GetWebhookRequest>,
    ) -> Result<Response<GetWebhookResponse>, tonic::Status> {
        let name = request.into_inner().name;
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let webhook = Some(shown(&mut connection, &name).await?);
        Ok(Response::new(GetWebhookResponse { webhook }))
    }

    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Result<Response<ListWebhooksResponse>, tonic::Status> {
        let request = request.into_inner();
        Ok(Response::new(list(&self.0, request).await?))
    }

    async fn update_webhook(
        &self,
        request: Request<UpdateWebhookRequest>,
    ) -> Result<Response<UpdateWebhookResponse>, tonic::Status> {
        let webhook = Some(update(&self.0, request.into_inner()).await?);
        Ok(Response::new(UpdateWebhookResponse { webhook }))
    }

    async fn delete_webhook(
        &self,
        request: Request<DeleteWebhookRequest>,
    ) -> Result<Response<DeleteWebhookResponse>, tonic::Status> {
        delete(&self.0, &request.into_inner().name).await?;
        Ok(Response::new(DeleteWebhookResponse {}))
    }

    async fn test_webhook(
        &self,
        request: Request<TestWebhookRequest>,
    ) -> Result<Response<TestWebhookResponse>, tonic::Status> {
        let webhook = Some(ping(&self.0, &request.into_inner().name).await?);
        Ok(Response::new(TestWebhookResponse { webhook }))
    }
}

async fn list(catalog: &Catalog, request: ListWebhooksRequest) -> Result<ListWebhooksResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
    let mut connection = catalog.pool.acquire().await?;
    while let Some(rows) = page.wants() {
        let found = webhooks::list(&mut connection, page.after().part(0), rows).await?;
        let found = found.into_iter().map(|row| row.webhook).collect();
        page.add(found, |webhook: &wire::Webhook| PageStart::of(&[&webhook.name]));
    }
    let (webhooks, next_page_token) = page.end();
    Ok(ListWebhooksResponse {
        webhooks,
        next_page_token,
    })
}

async fn shown(connection: &mut PgConnection, name: &str) -> Result<wire::Webhook, Failure> {
    let row = webhooks::by_name(connection, name).await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Webhook, name))?;
    Ok(row.webhook)
}

async fn locked(connection: &mut PgConnection, name: &str) -> Result<WebhookRow, Failure> {
    let row = webhooks::lock_by_name(connection, name).await?;
    row.ok_or_else(|| Error::not_found(ResourceKind::Webhook, name).into())
}

async fn create(catalog: &Catalog, request: CreateWebhookRequest) -> Result<CreateWebhookResponse, Failure> {
    let mut webhook = request.webhook.unwrap_or_default();
    let made_up = webhook.secret.is_empty();
    if made_up {
        webhook.secret = new_secret();
    }
    convert::check_webhook(&webhook)?;
    let newest = changes::newest_revision(&catalog.pool).await?;
    let delivered = match request.from_revision {
        0 => newest,
        from => {
            let oldest = changes::oldest_revision(&catalog.pool).await?;
            if !(oldest..=newest + 1).contains(&from) {
                return Err(Error::RevisionOutOfRange { oldest, newest }.into());
            }
            from - 1
        }
    };
    let mut transaction = catalog.pool.begin().await?;
    let Some(id) = webhooks::create(&mut transaction, &webhook, delivered).await? else {
        let row = locked(&mut transaction, &webhook.name).await?;
        // The same again is a retry. A secret that was made up is told once: whoever lost that answer
        // sets another one.
        return match is_same(&row.webhook, &webhook, made_up) {
            true => Ok(CreateWebhookResponse {
                webhook: Some(row.webhook),
                secret: String::new(),
            }),
            false => Err(Error::AlreadyExists {
                kind: ResourceKind::Webhook,
                name: webhook.name,
            }
            .into()),
        };
    };
    webhooks::restart_delivery(&mut transaction, id, webhook.disabled).await?;
    let created = shown(&mut transaction, &webhook.name).await?;
    transaction.commit().await?;
    tracing::info!(webhook.name = webhook.name, "webhook added");
    Ok(CreateWebhookResponse {
        webhook: Some(created),
        secret: if made_up { webhook.secret } else { String::new() },
    })
}

fn is_same(known: &wire::Webhook, wanted: &wire::Webhook, any_secret: bool) -> bool {
    let what = |webhook: &wire::Webhook| {
        (
            webhook.url.clone(),
            webhook.kinds.clone(),
            webhook.name_glob.clone(),
            webhook.ca_pem.clone(),
            webhook.disabled,
        )
    };
    what(known) == what(wanted) && (any_secret || known.secret == wanted.secret)
}

async fn update(catalog: &Catalog, request: UpdateWebhookRequest) -> Result<wire::Webhook, Failure> {
    let wanted = request.webhook.unwrap_or_default();
    let mask = Mask::read(request.update_mask)?;
    let mut transaction = catalog.pool.begin().await?;
    let row = locked(&mut transaction, &wanted.name).await?;
    if !wanted.etag.is_empty() && wanted.etag != row.webhook.etag {
        return Err(Error::StaleEtag {
            kind: ResourceKind::Webhook,
            name: wanted.name,
        }
        .into());
    }
    let mut webhook = row.webhook.clone();
    mask.merge(&wanted, &mut webhook)?;
    convert::check_webhook(&webhook)?;
    if webhook != row.webhook {
        webhooks::update(&mut transaction, row.id, &webhook).await?;
        webhooks::restart_delivery(&mut transaction, row.id, webhook.disabled).await?;
    }
    let updated = shown(&mut transaction, &webhook.name).await?;
    transaction.commit().await?;
    Ok(updated)
}

async fn delete(catalog: &Catalog, name: &str) -> Result<(), Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let row = locked(&mut transaction, name).await?;
    webhooks::restart_delivery(&mut transaction, row.id, true).await?;
    webhooks::delete(&mut transaction, row.id).await?;
    transaction.commit().await?;
    tracing::info!(webhook.name = name, "webhook removed");
    Ok(())
}

async fn ping(catalog: &Catalog, name: &str) -> Result<wire::Webhook, Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let row = locked(&mut transaction, name).await?;
    if row.webhook.disabled {
        let message = format!(
            "webhook {name:?} is disabled: enable it first (`rootstock webhook update {name} --enable`)"
        );
        return Err(Error::refused(rootstock_proto::Refusal::Disabled, message).into());
    }
    webhooks::ask_for_ping(&mut transaction, row.id).await?;
    webhooks::restart_delivery(&mut transaction, row.id, false).await?;
    let webhook = shown(&mut transaction, name).await?;
    transaction.commit().await?;
    Ok(webhook)
}

/// In the form of Standard Webhooks, so that every library for it takes it.
fn new_secret() -> String {
    use base64::Engine as _;
    let mut bytes = [0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    format!(
        "whsec_{}",
        base64::engine::general_purpose::STANDARD.encode(bytes)
    )
}
