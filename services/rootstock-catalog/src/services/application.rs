//! `ApplicationService`: consumers that hold one version of an image each (semantics §8).

use rootstock_model::{ApplicationName, reference::Narrowing};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{
        self as wire, Application, ChangeOperation, CreateApplicationRequest, CreateApplicationResponse,
        DeleteApplicationRequest, DeleteApplicationResponse, GetApplicationRequest, GetApplicationResponse,
        ListApplicationsRequest, ListApplicationsResponse, UpdateApplicationRequest,
        UpdateApplicationResponse, application_service_server::ApplicationService,
    },
    update::Mask,
};
use sqlx::PgConnection;
use tonic::{Request, Response};

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    page::{Page, PageStart},
    queries::{applications, images, resolve::Found, versions, versions::VersionRow},
    request::{find_version, image_type},
};

/// The service.
pub(crate) struct Applications(pub Catalog);

#[tonic::async_trait]
impl ApplicationService for Applications {
    async fn create_application(
        &self,
        request: Request<CreateApplicationRequest>,
    ) -> Result<Response<CreateApplicationResponse>, tonic::Status> {
        let application = create(&self.0, request.into_inner()).await?;
        Ok(Response::new(CreateApplicationResponse {
            application: Some(application),
        }))
    }

    async fn get_application(
        &self,
        request: Request<GetApplicationRequest>,
    ) -> Result<Response<GetApplicationResponse>, tonic::Status> {
        let name = request.into_inner().name;
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let application = by_name(&mut connection, &name).await?;
        Ok(Response::new(GetApplicationResponse {
            application: Some(application),
        }))
    }

    async fn list_applications(
        &self,
        request: Request<ListApplicationsRequest>,
    ) -> Result<Response<ListApplicationsResponse>, tonic::Status> {
        let request = request.into_inner();
        Ok(Response::new(list(&self.0, request).await?))
    }

    async fn update_application(
        &self,
        request: Request<UpdateApplicationRequest>,
    ) -> Result<Response<UpdateApplicationResponse>, tonic::Status> {
        let application = update(&self.0, request.into_inner()).await?;
        Ok(Response::new(UpdateApplicationResponse {
            application: Some(application),
        }))
    }

    async fn delete_application(
        &self,
        request: Request<DeleteApplicationRequest>,
    ) -> Result<Response<DeleteApplicationResponse>, tonic::Status> {
        delete(&self.0, &request.into_inner().name).await?;
        Ok(Response::new(DeleteApplicationResponse {}))
    }
}

async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<Application>, Failure> {
    Ok(applications::by_names(connection, &[name.to_owned()])
        .await?
        .pop())
}

async fn list(
    catalog: &Catalog,
    request: ListApplicationsRequest,
) -> Result<ListApplicationsResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 1)?)?;
    let image_id = Some(request.image_id.as_str()).filter(|id| !id.is_empty());
    let mut connection = catalog.pool.acquire().await?;
    while let Some(rows) = page.wants() {
        let found = applications::list(&mut connection, image_id, page.after().part(0), rows).await?;
        page.add(found, |application| PageStart::of(&[&application.name]));
    }
    let (applications, next_page_token) = page.end();
    Ok(ListApplicationsResponse {
        applications,
        next_page_token,
    })
}

async fn by_name(connection: &mut PgConnection, name: &str) -> Result<Application, Failure> {
    let application = find(connection, name).await?;
    application.ok_or_else(|| Error::not_found(ResourceKind::Application, name).into())
}

async fn create(catalog: &Catalog, request: CreateApplicationRequest) -> Result<Application, Failure> {
    let name: ApplicationName = match request.name.as_str() {
        "" => return Err(Error::invalid("name", "is required").into()),
        name => name.parse().map_err(|error| Error::invalid("name", error))?,
    };
    let mut writer = Writer::begin(&catalog.pool).await?;
    let Found { image, pinned, .. } = wanted(
        writer.connection(),
        &request.image,
        request.r#type(),
        request.version,
    )
    .await?;
    let number = request.version.or(pinned);
    // Whoever names a version by its fingerprint, or an alias that stays at one, means just that.
    let auto_update = request.auto_update.unwrap_or(pinned.is_none());
    if let Some(there) = find(writer.connection(), name.as_str()).await? {
        let version = there.version.as_ref().map(|version| version.number);
        let same = there.image_id == image.id
            && there.auto_update == auto_update
            && (number.is_none() || number == version);
        // The same again is a retry; the answer is what is there.
        return match same {
            true => Ok(there),
            false => Err(Error::AlreadyExists {
                kind: ResourceKind::Application,
                name: there.name,
            }
            .into()),
        };
    }
    let version = wanted_version(writer.connection(), &image, number).await?;
    applications::insert(
        writer.connection(),
        name.as_str(),
        &image.id,
        version.id,
        auto_update,
    )
    .await?;
    writer.note::<Application>(name.as_str(), ChangeOperation::Created);
    let application = by_name(writer.connection(), name.as_str()).await?;
    change::commit(writer).await?;
    tracing::info!(
        application.name = name.as_str(),
        image.name = image.name,
        version = version.version.number,
        "application made"
    );
    Ok(application)
}

/// What an application is to be of: any reference to an image, or nothing for the default.
async fn wanted(
    connection: &mut PgConnection,
    reference: &str,
    r#type: wire::ImageType,
    version: Option<i32>,
) -> Result<Found, Failure> {
    let narrowing = Narrowing {
        image_type: image_type(r#type),
        architecture: None,
    };
    find_version(connection, reference, narrowing, version).await
}

/// The version that is to be held: one that is stored and shown.
async fn wanted_version(
    connection: &mut PgConnection,
    image: &wire::Image,
    number: Option<i32>,
) -> Result<VersionRow, Failure> {
    let name = &image.name;
    let Some(number) = number.or(image.current_version) else {
        let message =
            format!("{name:?} has no active version to hold; fetch it first (`rootstock image fetch`)");
        return Err(Error::refused(Refusal::NotActive, message).into());
    };
    let rows = versions::of_image(connection, &image.id).await?;
    let row = rows.into_iter().find(|row| row.version.number == number);
    let row =
        row.ok_or_else(|| Error::not_found(ResourceKind::Version, format!("{name} version {number}")))?;
    if row.version.status() != wire::Status::Active {
        let message =
            format!("version {number} of {name:?} is not stored; fetch it first (`rootstock image fetch`)");
        return Err(Error::refused(Refusal::NotActive, message).into());
    }
    if row.version.hidden {
        let message = format!(
            "version {number} of {name:?} is hidden while the image is held; release it first (`rootstock image release`)"
        );
        return Err(Error::refused(Refusal::Held, message).into());
    }
    Ok(row)
}

async fn update(catalog: &Catalog, request: UpdateApplicationRequest) -> Result<Application, Failure> {
    let mask = Mask::<Application>::read(request.update_mask)?;
    let names_version = mask.names("version") || mask.names("version.number");
    let to = request.application.unwrap_or_default();
    let mut writer = Writer::begin(&catalog.pool).await?;
    let there = by_name(writer.connection(), &to.name).await?;
    if !to.etag.is_empty() && to.etag != there.etag {
        return Err(Error::StaleEtag {
            kind: ResourceKind::Application,
            name: there.name,
        }
        .into());
    }
    let auto_update = if mask.names("auto_update") {
        to.auto_update
    } else {
        there.auto_update
    };
    let number = to
        .version
        .as_ref()
        .map(|version| version.number)
        .filter(|_| names_version);
    let (image, pinned) = match (mask.names("image"), there.image_id.is_empty()) {
        (true, _) => {
            let found = wanted(writer.connection(), &to.image, to.r#type(), number).await?;
            (Some(found.image), found.pinned)
        }
        (false, false) => {
            let ids = std::slice::from_ref(&there.image_id);
            (images::by_ids(writer.connection(), ids).await?.pop(), None)
        }
        (false, true) => (None, None),
    };
    let number = number.or(pinned);
    let is_other_image = image.as_ref().is_some_and(|image| image.id != there.image_id);
    let starts_following = auto_update && !there.auto_update;
    let moves = match &image {
        // What follows holds what is shown; an image that shows nothing leaves it where it is.
        Some(image) => {
            number.is_some()
                || names_version
                || is_other_image
                || starts_following && image.current_version.is_some()
        }
        None => names_version,
    };
    let version = match (moves, &image) {
        (false, _) => None,
        (true, Some(image)) => Some(wanted_version(writer.connection(), image, number).await?),
        (true, None) => {
            let message = format!(
                "the image of application {:?} was deleted: it keeps its version; give it another image to move it",
                there.name
            );
            return Err(Error::refused(Refusal::NotActive, message).into());
        }
    };
    let number = version.as_ref().map(|version| version.version.number);
    let is_other_version = number.is_some() && number != there.version.as_ref().map(|version| version.number);
    if auto_update == there.auto_update && !is_other_image && !is_other_version {
        return Ok(there);
    }
    let target = match (&image, &version) {
        (Some(image), Some(version)) => Some((image.id.as_str(), version.id)),
        _ => None,
    };
    applications::update(writer.connection(), &there.name, auto_update, target).await?;
    writer.note::<Application>(there.name.as_str(), ChangeOperation::Updated);
    let application = by_name(writer.connection(), &there.name).await?;
    change::commit(writer).await?;
    Ok(application)
}

async fn delete(catalog: &Catalog, name: &str) -> Result<(), Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let application = by_name(writer.connection(), name).await?;
    applications::delete(writer.connection(), name).await?;
    writer.note_removed(name, application);
    change::commit(writer).await?;
    tracing::info!(application.name = name, "application removed");
    Ok(())
}
