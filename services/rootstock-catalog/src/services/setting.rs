//! `SettingService`.

use rootstock_model::settings::{self as model, Definition, InvalidSetting, Settings as Values};
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        ChangeOperation, GetSettingRequest, GetSettingResponse, ListSettingsRequest, ListSettingsResponse,
        ResetSettingRequest, ResetSettingResponse, Setting, UpdateSettingRequest, UpdateSettingResponse,
        setting_service_server::SettingService,
    },
};
use rootstock_runtime::propagate::current_traceparent;
use tonic::{Request, Response};

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    queries::{remotes, settings},
    work::schedule,
};

/// The service.
pub(crate) struct Settings(pub Catalog);

#[tonic::async_trait]
impl SettingService for Settings {
    async fn get_setting(
        &self,
        request: Request<GetSettingRequest>,
    ) -> Result<Response<GetSettingResponse>, tonic::Status> {
        let key = request.into_inner().key;
        let definition = match model::definition(&key) {
            Ok(definition) => definition,
            Err(error) if model::elsewhere(&key).is_some() => return Err(refusal(&error).into()),
            Err(_) => return Err(Failure::from(Error::not_found(ResourceKind::Setting, key)).into()),
        };
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let values = settings::load(&mut connection).await?;
        let setting = Some(settings::one_as_wire(&values, definition));
        Ok(Response::new(GetSettingResponse { setting }))
    }

    async fn list_settings(
        &self,
        _request: Request<ListSettingsRequest>,
    ) -> Result<Response<ListSettingsResponse>, tonic::Status> {
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let settings = settings::as_wire(&settings::load(&mut connection).await?);
        Ok(Response::new(ListSettingsResponse { settings }))
    }

    async fn update_setting(
        &self,
        request: Request<UpdateSettingRequest>,
    ) -> Result<Response<UpdateSettingResponse>, tonic::Status> {
        let request = request.into_inner();
        let setting = Some(change(&self.0, &request.key, Some(&request.value)).await?);
        Ok(Response::new(UpdateSettingResponse { setting }))
    }

    async fn reset_setting(
        &self,
        request: Request<ResetSettingRequest>,
    ) -> Result<Response<ResetSettingResponse>, tonic::Status> {
        let setting = Some(change(&self.0, &request.into_inner().key, None).await?);
        Ok(Response::new(ResetSettingResponse { setting }))
    }
}

fn refusal(error: &InvalidSetting) -> Failure {
    let field = match error {
        InvalidSetting::UnknownKey { .. } => "key",
        InvalidSetting::BadValue { .. } => "value",
    };
    Error::invalid(field, error).into()
}

/// Sets one, or sets it back. What is in force already changes nothing.
async fn change(catalog: &Catalog, key: &str, value: Option<&str>) -> Result<Setting, Failure> {
    let definition = model::definition(key).map_err(|error| refusal(&error))?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let before = settings::load(writer.connection()).await?;
    let mut after = before.clone();
    let default = Values::default().value(definition);
    after
        .set(key, value.unwrap_or(&default))
        .map_err(|error| refusal(&error))?;
    // As we write it: `300s` and `5m` are the same.
    let text = after.value(definition);
    settings::store(writer.connection(), key, value.map(|_| text.as_str())).await?;
    let setting = settings::one_as_wire(&after, definition);
    if after != before {
        apply(&mut writer, definition).await?;
        writer.note::<Setting>(key, ChangeOperation::Updated);
    }
    change::commit(writer).await?;
    if after != before {
        tracing::info!(setting.key = key, setting.value = text, "setting changed");
    }
    Ok(setting)
}

/// Has everything looked at again that may go by a setting: polls and timed work are due at once.
async fn apply(writer: &mut Writer, definition: &Definition) -> Result<(), Failure> {
    if definition.key == "images.default_keep_versions" {
        // An unchanged index means something else now.
        let followers = remotes::with_default_keep_versions(writer.connection()).await?;
        remotes::forget_documents(writer.connection(), &followers).await?;
    }
    let enabled = remotes::enabled(writer.connection()).await?;
    let traceparent = current_traceparent().unwrap_or_default();
    schedule::restart_polls(writer.connection(), &enabled, &traceparent).await?;
    schedule::wake_timed(writer.connection()).await
}
