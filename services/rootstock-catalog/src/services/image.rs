//! `ImageService`.

pub(crate) mod add;
mod default;
mod delete;
mod explain;
mod fetch;
mod hold;
mod list;
mod resolve;
mod subject;
mod update;

pub(crate) use hold::release_holds;

use rootstock_model::{limits::MAX_MESSAGE_BYTES, plan};
use rootstock_proto::catalog::v1::{
    self as wire, FetchImageRequest, FetchImageResponse, GetImageRequest, GetImageResponse,
    ListImagesRequest, ListImagesResponse, image_service_server::ImageService,
};
use sqlx::PgConnection;
use tonic::{Request, Response};

use crate::{
    Catalog,
    failure::Failure,
    page,
    queries::versions::{self, VersionRow},
    request::{find_image, image_type},
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
        Ok(Response::new(fetch::image(&self.0, request.into_inner()).await?))
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
        request: Request<wire::AddImageRequest>,
    ) -> Result<Response<wire::AddImageResponse>, tonic::Status> {
        let image = add::image(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::AddImageResponse { image: Some(image) }))
    }

    async fn update_image(
        &self,
        request: Request<wire::UpdateImageRequest>,
    ) -> Result<Response<wire::UpdateImageResponse>, tonic::Status> {
        let image = update::image(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::UpdateImageResponse { image: Some(image) }))
    }

    async fn switch_default_image(
        &self,
        request: Request<wire::SwitchDefaultImageRequest>,
    ) -> Result<Response<wire::SwitchDefaultImageResponse>, tonic::Status> {
        let image = default::switch(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::SwitchDefaultImageResponse {
            image: Some(image),
        }))
    }

    async fn delete_image(
        &self,
        request: Request<wire::DeleteImageRequest>,
    ) -> Result<Response<wire::DeleteImageResponse>, tonic::Status> {
        let image = delete::image(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::DeleteImageResponse { image: Some(image) }))
    }

    async fn delete_version(
        &self,
        request: Request<wire::DeleteVersionRequest>,
    ) -> Result<Response<wire::DeleteVersionResponse>, tonic::Status> {
        let image = delete::version(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::DeleteVersionResponse { image: Some(image) }))
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
        request: Request<wire::RollbackImageRequest>,
    ) -> Result<Response<wire::RollbackImageResponse>, tonic::Status> {
        let image = hold::rollback(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::RollbackImageResponse { image: Some(image) }))
    }

    async fn release_image(
        &self,
        request: Request<wire::ReleaseImageRequest>,
    ) -> Result<Response<wire::ReleaseImageResponse>, tonic::Status> {
        let image = hold::release(&self.0, request.into_inner()).await?;
        Ok(Response::new(wire::ReleaseImageResponse { image: Some(image) }))
    }

    async fn explain_image(
        &self,
        request: Request<wire::ExplainImageRequest>,
    ) -> Result<Response<wire::ExplainImageResponse>, tonic::Status> {
        Ok(Response::new(
            explain::explain(&self.0, request.into_inner()).await?,
        ))
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
    page::cut(&mut image.versions, MAX_MESSAGE_BYTES);
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
