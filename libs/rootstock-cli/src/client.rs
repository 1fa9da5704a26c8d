//! The connection of an operator's command to its server.

use std::{future::Future, path::PathBuf, time::Duration};

use rootstock_proto::catalog::v1::{
    alias_service_client::AliasServiceClient, application_service_client::ApplicationServiceClient,
    blob_service_client::BlobServiceClient, content_service_client::ContentServiceClient,
    image_service_client::ImageServiceClient, remote_service_client::RemoteServiceClient,
    setting_service_client::SettingServiceClient, watch_service_client::WatchServiceClient,
    webhook_service_client::WebhookServiceClient,
};
use rootstock_runtime::grpc::client::{ClientOptions, ClientStack, connect_lazy};
use tokio::time::{Instant, sleep};
use tonic::{Response, Status};

use crate::{
    failure::{Failure, Kind},
    output::Format,
    pages::{self, ListRequest},
};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The plan of a large remote is one message.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How long a command that waits for something bears with a server that is away.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Flags of every operator's command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server and output")]
pub(super) struct ClientArgs {
    /// Address of a gateway's gRPC listener, or of the catalog itself
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ROOTSTOCK_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7443"
    )]
    server: String,

    /// PEM file of the authority that vouches for an https:// server, instead of the system's
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ROOTSTOCK_SERVER_CA",
        hide_env_values = true
    )]
    server_ca: Option<PathBuf>,

    /// How results are written: for people, or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, hide_possible_values = true)]
    #[arg(value_name = "table|json|yaml|csv")]
    pub(super) format: Format,

    /// Say more about what went wrong
    #[arg(long, global = true)]
    pub(super) debug: bool,
}

/// Calls to one server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    server: String,
    stack: ClientStack,
}

impl Client {
    /// Prepares calls; the connection is made by the first. Call it inside the runtime.
    ///
    /// # Errors
    /// The address or the certificates cannot be used.
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let ca_pem = match &args.server_ca {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                Failure::usage(format!("cannot read --server-ca {}: {error}", path.display()))
            })?),
        };
        let options = ClientOptions {
            ca_pem,
            attempt_timeout: CALL_TIMEOUT,
            ..ClientOptions::default()
        };
        let stack = connect_lazy(&args.server, options).map_err(|error| {
            let cause =
                std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            Failure::usage(format!("--server: {error}{cause}"))
        })?;
        Ok(Self {
            server: args.server.clone(),
            stack,
        })
    }

    /// Images.
    pub(super) fn images(&self) -> ImageServiceClient<ClientStack> {
        ImageServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Remotes.
    pub(super) fn remotes(&self) -> RemoteServiceClient<ClientStack> {
        RemoteServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Aliases.
    pub(super) fn aliases(&self) -> AliasServiceClient<ClientStack> {
        AliasServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Applications.
    pub(super) fn applications(&self) -> ApplicationServiceClient<ClientStack> {
        ApplicationServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Settings.
    pub(super) fn settings(&self) -> SettingServiceClient<ClientStack> {
        SettingServiceClient::new(self.stack.clone())
    }

    /// Blobs.
    pub(super) fn blobs(&self) -> BlobServiceClient<ClientStack> {
        BlobServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Content: bytes of images, in and out.
    pub(super) fn contents(&self) -> ContentServiceClient<ClientStack> {
        ContentServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Webhooks.
    pub(super) fn webhooks(&self) -> WebhookServiceClient<ClientStack> {
        WebhookServiceClient::new(self.stack.clone())
    }

    /// Changes.
    pub(super) fn changes(&self) -> WatchServiceClient<ClientStack> {
        WatchServiceClient::new(self.stack.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// The answer to a call.
    ///
    /// # Errors
    /// What the server's status means to the user.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match call.await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failure(&status)),
        }
    }

    /// The whole list that a request asks for, page after page.
    ///
    /// # Errors
    /// What the server's status means to the user.
    pub(super) async fn list<R: ListRequest>(
        &self,
        request: &R,
        call: impl AsyncFnMut(R) -> Result<Response<R::Page>, Status>,
    ) -> Result<Vec<R::Item>, Failure> {
        pages::all(request, call)
            .await
            .map_err(|status| self.failure(&status))
    }

    /// What a status means to the user.
    pub(super) fn failure(&self, status: &Status) -> Failure {
        Failure::of_status(status, &self.server)
    }

    /// The same for calls about content, which only gateways serve.
    pub(super) fn content_failure(&self, status: &Status) -> Failure {
        match status.code() {
            tonic::Code::Unimplemented => Failure::failed(format!(
                "{} moves no bytes of images: it is the catalog itself, or of another version; name a gateway's \
                 address with --server or ROOTSTOCK_SERVER",
                self.server
            )),
            _ => self.failure(status),
        }
    }

    /// Makes a call that can be repeated until it is answered, for commands that wait: a server that
    /// is being restarted is no reason to stop waiting.
    ///
    /// # Errors
    /// The server answered with an error, or was away for too long.
    pub(super) async fn patiently<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let failure = match call().await {
                Ok(answer) => return Ok(answer),
                Err(status) => self.failure(&status),
            };
            if failure.kind() != Kind::Unreachable || Instant::now() > deadline {
                return Err(failure);
            }
            sleep(TRY_AGAIN).await;
        }
    }
}
