//! `AliasService`: the aliases that users make, beside those that come from remotes.

use rootstock_model::{AliasName, ImageType, limits, reference::Narrowing};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{
        self as wire, Alias, ChangeOperation, CreateAliasRequest, CreateAliasResponse, DeleteAliasRequest,
        DeleteAliasResponse, GetAliasRequest, GetAliasResponse, ListAliasesRequest, ListAliasesResponse,
        RenameAliasRequest, RenameAliasResponse, UpdateAliasRequest, UpdateAliasResponse,
        alias_service_server::AliasService,
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
    queries::{
        aliases::{self, Filter, Key, Target},
        images,
        resolve::Found,
        versions,
    },
    request::{self, find_version, image_type, required},
};

/// The service.
pub(crate) struct Aliases(pub Catalog);

#[tonic::async_trait]
impl AliasService for Aliases {
    async fn create_alias(
        &self,
        request: Request<CreateAliasRequest>,
    ) -> Result<Response<CreateAliasResponse>, tonic::Status> {
        let alias = Some(create(&self.0, request.into_inner()).await?);
        Ok(Response::new(CreateAliasResponse { alias }))
    }

    async fn get_alias(
        &self,
        request: Request<GetAliasRequest>,
    ) -> Result<Response<GetAliasResponse>, tonic::Status> {
        let request = request.into_inner();
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let wanted = image_type(request.r#type());
        let alias = find(&mut connection, &request.name, wanted, &request.architecture).await?;
        Ok(Response::new(GetAliasResponse { alias: Some(alias) }))
    }

    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, tonic::Status> {
        Ok(Response::new(list(&self.0, request.into_inner()).await?))
    }

    async fn update_alias(
        &self,
        request: Request<UpdateAliasRequest>,
    ) -> Result<Response<UpdateAliasResponse>, tonic::Status> {
        let alias = Some(update(&self.0, request.into_inner()).await?);
        Ok(Response::new(UpdateAliasResponse { alias }))
    }

    async fn rename_alias(
        &self,
        request: Request<RenameAliasRequest>,
    ) -> Result<Response<RenameAliasResponse>, tonic::Status> {
        let alias = Some(rename(&self.0, request.into_inner()).await?);
        Ok(Response::new(RenameAliasResponse { alias }))
    }

    async fn delete_alias(
        &self,
        request: Request<DeleteAliasRequest>,
    ) -> Result<Response<DeleteAliasResponse>, tonic::Status> {
        delete(&self.0, request.into_inner()).await?;
        Ok(Response::new(DeleteAliasResponse {}))
    }
}

async fn list(catalog: &Catalog, request: ListAliasesRequest) -> Result<ListAliasesResponse, Failure> {
    let mut page = Page::begin(request.page_size, PageStart::parse(&request.page_token, 3)?)?;
    let filter = Filter {
        image_id: Some(request.image_id).filter(|id| !id.is_empty()),
        name: request::name_pattern("name", &request.name)?,
    };
    let mut connection = catalog.pool.acquire().await?;
    while let Some(rows) = page.wants() {
        let after = page.after();
        let after = (after.part(0), after.part(1), after.part(2));
        let aliases = aliases::list(&mut connection, &filter, after, rows).await?;
        page.add(aliases, |alias| {
            let image_type = image_type(alias.r#type()).map_or("", ImageType::as_str);
            PageStart::of(&[&alias.name, image_type, &alias.architecture])
        });
    }
    let (aliases, next_page_token) = page.end();
    Ok(ListAliasesResponse {
        aliases,
        next_page_token,
    })
}

/// The one alias that a request names.
async fn find(
    connection: &mut PgConnection,
    name: &str,
    wanted: Option<ImageType>,
    architecture: &str,
) -> Result<Alias, Failure> {
    if name.is_empty() {
        return Err(Error::invalid("name", "is required").into());
    }
    let architecture = request::architecture(architecture)?.map(|architecture| architecture.kernel_name());
    let mut found = aliases::by_name(connection, name, wanted, architecture).await?;
    match found.len() {
        0 => Err(Error::not_found(ResourceKind::Alias, name).into()),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let described = found.iter().map(describe).collect::<Vec<_>>().join(", ");
            let message = format!(
                "alias {name:?} is there several times; say the type or the architecture: {described}"
            );
            Err(Error::refused(Refusal::Ambiguous, message).into())
        }
    }
}

fn describe(alias: &Alias) -> String {
    let image_type = image_type(alias.r#type()).map_or("", ImageType::as_str);
    format!("{image_type} {} of image {}", alias.architecture, alias.image_id)
}

fn key(alias: &Alias) -> Result<Key<'_>, Failure> {
    let image_type = image_type(alias.r#type())
        .ok_or_else(|| Failure::Corrupt(format!("type of alias {:?}", alias.name)))?;
    Ok(Key {
        name: &alias.name,
        image_type,
        architecture: &alias.architecture,
    })
}

fn valid_name(field: &str, name: &str) -> Result<AliasName, Error> {
    match name {
        "" => Err(Error::invalid(field, "is required")),
        name => name
            .parse()
            .map_err(|error: rootstock_model::name::InvalidName| Error::invalid(field, error)),
    }
}

async fn create(catalog: &Catalog, request: CreateAliasRequest) -> Result<Alias, Failure> {
    let name = valid_name("name", &request.name)?;
    limits::check_text(&request.description).map_err(|problem| Error::invalid("description", problem))?;
    let narrowing = Narrowing {
        image_type: image_type(request.r#type()),
        architecture: None,
    };
    let reference = required(&request.image)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let Found { image, pinned, .. } =
        find_version(writer.connection(), reference, narrowing, request.version).await?;
    let target = Target {
        image_id: &image.id,
        version: request.version.or(pinned),
        description: &request.description,
    };
    check_pin(&mut writer, &image, target.version).await?;
    let image_type = image_type(image.r#type());
    let held = aliases::by_name(
        writer.connection(),
        name.as_str(),
        image_type,
        Some(&image.architecture),
    )
    .await?
    .into_iter()
    .next();
    let operation = match held {
        // The same again is a retry; the answer is what is there.
        Some(alias) if alias.image_id == image.id && alias.version == target.version => return Ok(alias),
        Some(_) if !request.replace => {
            return Err(Error::AlreadyExists {
                kind: ResourceKind::Alias,
                name: name.into(),
            }
            .into());
        }
        Some(alias) if alias.synced => return Err(immutable(&alias, "taken from it").into()),
        Some(_) => ChangeOperation::Updated,
        None => ChangeOperation::Created,
    };
    let key = Key {
        name: name.as_str(),
        image_type: image_type.ok_or_else(|| Failure::Corrupt(format!("type of image {}", image.id)))?,
        architecture: &image.architecture,
    };
    let alias = aliases::put(writer.connection(), key, target).await?;
    aliases::check_count(writer.connection(), &alias.image_id).await?;
    writer.note::<Alias>(key, operation);
    change::commit(writer).await?;
    tracing::info!(alias = alias.name, image.id = alias.image_id, "alias made");
    Ok(alias)
}

/// A version that an alias is to be pinned to must be one that is shown, or will be.
async fn check_pin(writer: &mut Writer, image: &wire::Image, number: Option<i32>) -> Result<(), Failure> {
    let Some(number) = number else { return Ok(()) };
    let name = &image.name;
    let rows = versions::of_image(writer.connection(), &image.id).await?;
    let version = rows.into_iter().find(|row| row.version.number == number);
    match version {
        None => Err(Error::not_found(ResourceKind::Version, format!("{name} version {number}")).into()),
        Some(row) if row.version.hidden => {
            let message = format!(
                "version {number} of {name:?} is held back: `rootstock image release {name}` ends that"
            );
            Err(Error::refused(Refusal::Held, message).into())
        }
        Some(_) => Ok(()),
    }
}

fn immutable(alias: &Alias, what: &str) -> Error {
    let message = format!(
        "alias {:?} comes from a remote and cannot be {what}: make one of another name",
        alias.name
    );
    Error::refused(Refusal::Immutable, message)
}

async fn update(catalog: &Catalog, request: UpdateAliasRequest) -> Result<Alias, Failure> {
    let wanted = request.alias.unwrap_or_default();
    let mask = Mask::read(request.update_mask)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let narrowed_to = image_type(wanted.r#type());
    let alias = find(
        writer.connection(),
        &wanted.name,
        narrowed_to,
        &wanted.architecture,
    )
    .await?;
    if !wanted.etag.is_empty() && wanted.etag != alias.etag {
        let (kind, name) = (ResourceKind::Alias, alias.name);
        return Err(Error::StaleEtag { kind, name }.into());
    }
    let mut updated = alias.clone();
    if mask.names("description") {
        let checked = limits::check_text(&wanted.description);
        checked.map_err(|problem| Error::invalid("alias.description", problem))?;
    }
    mask.merge(&wanted, &mut updated)?;
    if updated == alias {
        return Ok(alias);
    }
    if (&updated.image_id, updated.version) != (&alias.image_id, alias.version) {
        if alias.synced {
            return Err(immutable(&alias, "pointed elsewhere").into());
        }
        // A pin is of one image: it does not go along to another.
        if updated.image_id != alias.image_id && !mask.names("version") {
            updated.version = None;
        }
        let image = target_image(&mut writer, &updated).await?;
        check_pin(&mut writer, &image, updated.version).await?;
    }
    let target = Target {
        image_id: &updated.image_id,
        version: updated.version,
        description: &updated.description,
    };
    let key = key(&alias)?;
    let updated = aliases::update(writer.connection(), key, target).await?;
    aliases::check_count(writer.connection(), &updated.image_id).await?;
    writer.note::<Alias>(key, ChangeOperation::Updated);
    change::commit(writer).await?;
    Ok(updated)
}

/// The image that an alias is to point to: there, and of its type and architecture.
async fn target_image(writer: &mut Writer, alias: &Alias) -> Result<wire::Image, Failure> {
    let ids = [alias.image_id.clone()];
    let images = images::by_ids(writer.connection(), &ids).await?;
    let image = images
        .into_iter()
        .find(|image| image.status() != wire::Status::Deleted)
        .ok_or_else(|| Error::not_found(ResourceKind::Image, &alias.image_id))?;
    if (image.r#type, &image.architecture) != (alias.r#type, &alias.architecture) {
        let what = "is of another type or architecture: make an alias of the same name for it";
        return Err(Error::invalid("alias.image_id", what).into());
    }
    Ok(image)
}

async fn rename(catalog: &Catalog, request: RenameAliasRequest) -> Result<Alias, Failure> {
    let new_name = valid_name("new_name", &request.new_name)?;
    let wanted = image_type(request.r#type());
    let mut writer = Writer::begin(&catalog.pool).await?;
    let alias = find(writer.connection(), &request.name, wanted, &request.architecture).await?;
    if alias.name == new_name.as_str() {
        return Ok(alias);
    }
    if alias.synced {
        return Err(immutable(&alias, "renamed").into());
    }
    let key = key(&alias)?;
    let held = aliases::by_name(
        writer.connection(),
        new_name.as_str(),
        Some(key.image_type),
        Some(key.architecture),
    );
    if !held.await?.is_empty() {
        return Err(Error::AlreadyExists {
            kind: ResourceKind::Alias,
            name: new_name.into(),
        }
        .into());
    }
    let renamed = aliases::rename(writer.connection(), key, new_name.as_str()).await?;
    // A name is what tells aliases apart: to watchers, one goes and another comes.
    let new_key = Key {
        name: new_name.as_str(),
        ..key
    };
    writer.note::<Alias>(new_key, ChangeOperation::Created);
    writer.note_removed::<Alias>(key, alias.clone());
    change::commit(writer).await?;
    Ok(renamed)
}

async fn delete(catalog: &Catalog, request: DeleteAliasRequest) -> Result<(), Failure> {
    let wanted = image_type(request.r#type());
    let mut writer = Writer::begin(&catalog.pool).await?;
    let alias = find(writer.connection(), &request.name, wanted, &request.architecture).await?;
    if alias.synced {
        return Err(immutable(&alias, "removed").into());
    }
    let key = key(&alias)?;
    aliases::delete(writer.connection(), key).await?;
    writer.note_removed::<Alias>(key, alias.clone());
    change::commit(writer).await?;
    Ok(())
}
