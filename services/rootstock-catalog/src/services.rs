//! The gRPC services: requests checked, work done in one transaction each, answers made.

mod alias;
mod application;
mod blob;
pub(crate) mod image;
mod import;
pub(crate) mod remote;
mod setting;
mod watch;
mod webhook;
mod work;

pub(crate) use alias::Aliases;
pub(crate) use application::Applications;
pub(crate) use blob::Blobs;
pub(crate) use image::Images;
pub(crate) use import::Imports;
pub(crate) use remote::Remotes;
pub(crate) use setting::Settings;
pub(crate) use watch::{WatchServer, Watches};
pub(crate) use webhook::Webhooks;
pub(crate) use work::Works;
