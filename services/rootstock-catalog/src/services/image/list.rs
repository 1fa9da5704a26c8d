//! `ListImages`.

use rootstock_model::{ImageType, Status};
use rootstock_proto::catalog::v1::{Image, ListImagesRequest, ListImagesResponse};

use crate::{
    Catalog,
    failure::Failure,
    page::{Page, PageStart},
    queries::images::{self, Filter},
    request::{self, image_type},
};

pub(super) async fn list(
    catalog: &Catalog,
    request: ListImagesRequest,
) -> Result<ListImagesResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 2)?)?;
    let filter = filter(request)?;
    let mut connection = catalog.pool.acquire().await?;
    while let Some(rows) = page.wants() {
        let after = (page.after().part(0), page.after().part(1));
        let images = images::list(&mut connection, &filter, after, rows).await?;
        page.add(images, key);
    }
    let (images, next_page_token) = page.end();
    Ok(ListImagesResponse {
        images,
        next_page_token,
    })
}

fn key(image: &Image) -> PageStart {
    let image_type = image_type(image.r#type()).map_or("", ImageType::as_str);
    PageStart::of(&[&image.name, image_type])
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
        name: request::name_pattern("name", &request.name)?,
        remote: some(request.remote),
        alias: some(request.alias),
        cached: request.cached,
        is_default: request.is_default,
    })
}
