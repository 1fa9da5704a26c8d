//! `ImageService`.

mod list;
mod resolve;

use rootstock_model::{Status, plan};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{
        self as wire, ChangeOperation, FetchImageRequest, FetchImageResponse, GetImageRequest,
        GetImageResponse, ListImagesRequest, ListImagesResponse, image_service_server::ImageService,
    },
};
use rootstock_runtime::propagate::current_traceparent;
use sqlx::PgConnection;
use tonic::{Request, Response};

use crate::{
    Catalog, activation,
    failure::Failure,
    queries::{
        images,
        versions::{self, VersionRow},
        work,
    },
    request::{find_image, image_type},
    writer::Writer,
};

/// The service.
pub(crate) struct Images(pub Catalog);

#[tonic::async_trait]
impl ImageService for Images {
    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, tonic::Status> {
        let request = request.into_inner();
        let wanted = image_type(request.r#type());
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let image = find_image(&mut connection, &request.image, wanted).await?;
        let image = with_versions(&mut connection, image).await?;
        Ok(Response::new(GetImageResponse { image: Some(image) }))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, tonic::Status> {
        Ok(Response::new(list::list(&self.0, request.into_inner()).await?))
    }

    async fn fetch_image(
        &self,
        request: Request<FetchImageRequest>,
    ) -> Result<Response<FetchImageResponse>, tonic::Status> {
        Ok(Response::new(fetch(&self.0, request.into_inner()).await?))
    }

    async fn resolve_image(
        &self,
        request: Request<wire::ResolveImageRequest>,
    ) -> Result<Response<wire::ResolveImageResponse>, tonic::Status> {
        Ok(Response::new(
            resolve::resolve(&self.0, request.into_inner()).await?,
        ))
    }

    async fn add_image(
        &self,
        _request: Request<wire::AddImageRequest>,
    ) -> Result<Response<wire::AddImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn update_image(
        &self,
        _request: Request<wire::UpdateImageRequest>,
    ) -> Result<Response<wire::UpdateImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn switch_default_image(
        &self,
        _request: Request<wire::SwitchDefaultImageRequest>,
    ) -> Result<Response<wire::SwitchDefaultImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn delete_image(
        &self,
        _request: Request<wire::DeleteImageRequest>,
    ) -> Result<Response<wire::DeleteImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn delete_version(
        &self,
        _request: Request<wire::DeleteVersionRequest>,
    ) -> Result<Response<wire::DeleteVersionResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn record_image_use(
        &self,
        request: Request<wire::RecordImageUseRequest>,
    ) -> Result<Response<wire::RecordImageUseResponse>, tonic::Status> {
        Ok(Response::new(
            resolve::record_use(&self.0, request.into_inner()).await?,
        ))
    }

    async fn rollback_image(
        &self,
        _request: Request<wire::RollbackImageRequest>,
    ) -> Result<Response<wire::RollbackImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn release_image(
        &self,
        _request: Request<wire::ReleaseImageRequest>,
    ) -> Result<Response<wire::ReleaseImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }

    async fn explain_image(
        &self,
        _request: Request<wire::ExplainImageRequest>,
    ) -> Result<Response<wire::ExplainImageResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("not served yet"))
    }
}

async fn with_versions(
    connection: &mut PgConnection,
    mut image: wire::Image,
) -> Result<wire::Image, Failure> {
    image.versions = newest_first(versions::of_image(connection, &image.id).await?)
        .into_iter()
        .map(|row| row.version)
        .collect();
    Ok(image)
}

fn newest_first(mut rows: Vec<VersionRow>) -> Vec<VersionRow> {
    rows.sort_by(|a, b| {
        plan::order(
            (b.version.number, &b.version.serial),
            (a.version.number, &a.version.serial),
        )
    });
    rows
}

async fn fetch(catalog: &Catalog, request: FetchImageRequest) -> Result<FetchImageResponse, Failure> {
    let wanted = image_type(request.r#type());
    let mut writer = Writer::begin(&catalog.pool).await?;
    let image = find_image(writer.connection(), &request.image, wanted).await?;
    let rows = newest_first(versions::of_image(writer.connection(), &image.id).await?);
    let row = choose(&image, rows, request.version)?;
    let number = row.version.number;
    if matches!(
        row.version.status(),
        wire::Status::Available | wire::Status::Error
    ) {
        queue(&mut writer, &image, &row).await?;
    }
    writer.commit().await?;
    let mut connection = catalog.pool.acquire().await?;
    let image = images::by_ids(&mut connection, &[image.id])
        .await?
        .into_iter()
        .next();
    let image = image.ok_or_else(|| Error::not_found(ResourceKind::Image, &request.image))?;
    let image = with_versions(&mut connection, image).await?;
    Ok(FetchImageResponse {
        image: Some(image),
        version: number,
    })
}

/// The version asked for, or the newest that can be had.
fn choose(image: &wire::Image, rows: Vec<VersionRow>, number: Option<i32>) -> Result<VersionRow, Error> {
    let name = &image.name;
    match number {
        Some(number) => {
            let row = rows.into_iter().find(|row| row.version.number == number);
            row.ok_or_else(|| Error::not_found(ResourceKind::Version, format!("{name} version {number}")))
        }
        None => {
            let fit = |row: &VersionRow| row.version.status() != wire::Status::Error;
            rows.into_iter().find(fit).ok_or_else(|| {
                let message =
                    format!("{name:?} has no version that can be fetched: see `rootstock image show`");
                Error::refused(Refusal::NotFetchable, message)
            })
        }
    }
}

/// Has a version fetched that is only known, or that failed before.
async fn queue(writer: &mut Writer, image: &wire::Image, row: &VersionRow) -> Result<(), Failure> {
    if image.source.is_none() {
        let message = format!("{:?} has no remote to fetch it from", image.name);
        return Err(Error::refused(Refusal::NotFetchable, message).into());
    }
    let digests: Result<Vec<rootstock_model::Digest>, _> = row
        .version
        .artifacts
        .iter()
        .map(|artifact| artifact.sha256.parse())
        .collect();
    let digests = digests.map_err(|_| Failure::Corrupt(format!("artifacts of version {}", row.id)))?;
    versions::set_status(writer.connection(), &[row.id], Status::Queued, "").await?;
    images::set_cached(writer.connection(), &image.id).await?;
    writer.version(row.id, ChangeOperation::Updated);
    writer.image(&image.id, ChangeOperation::Updated);
    let traceparent = current_traceparent().unwrap_or_default();
    work::revive(writer.connection(), &digests, &traceparent).await?;
    activation::request_blobs(writer, &[digests], &traceparent).await?;
    Ok(())
}
