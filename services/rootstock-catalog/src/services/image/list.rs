//! `ListImages`.

use rootstock_model::{ImageType, Status};
use rootstock_proto::catalog::v1::{ListImagesRequest, ListImagesResponse};

use crate::{
    Catalog,
    failure::Failure,
    queries::images::{self, Filter},
    request::{self, PageStart, image_type},
};

pub(super) async fn list(
    catalog: &Catalog,
    request: ListImagesRequest,
) -> Result<ListImagesResponse, Failure> {
    let limit = request::page_size(request.page_size)?;
    let start = PageStart::parse(&request.page_token, 2)?;
    let filter = filter(request)?;
    let mut connection = catalog.pool.acquire().await?;
    let after = (start.part(0), start.part(1));
    let mut images = images::list(&mut connection, &filter, after, limit + 1).await?;
    let more = request::has_next(&mut images, limit);
    let next_page_token = match images.last().filter(|_| more) {
        Some(last) => {
            let last_type = image_type(last.r#type()).map_or("", ImageType::as_str);
            PageStart::after(&[&last.name, last_type])
        }
        None => String::new(),
    };
    Ok(ListImagesResponse {
        images,
        next_page_token,
    })
}

fn filter(request: ListImagesRequest) -> Result<Filter, Failure> {
    let status = Status::from(request.status());
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(Filter {
        image_type: image_type(request.r#type()).map(ImageType::as_str),
        status: (status != Status::Unknown).then(|| status.code()),
        architecture: request::architecture(&request.architecture)?
            .map(|architecture| architecture.kernel_name()),
        properties: (!request.properties.is_empty()).then(|| serde_json::json!(request.properties)),
        name: some(request.name).map(|name| request::like_pattern(&name)),
        remote: some(request.remote),
        alias: some(request.alias),
        cached: request.cached,
        is_default: request.is_default,
    })
}
