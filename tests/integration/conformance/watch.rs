//! What a gateway relies on of `WatchService` and `ImageService`.

use std::time::Duration;

use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        Change, ChangeOperation, GetImageRequest, ListImagesRequest, Setting, UpdateSettingRequest,
        WatchRequest, WatchResponse, change::Resource, image_service_client::ImageServiceClient,
        watch_service_client::WatchServiceClient,
    },
};
use rootstock_tests::{
    catalog::{TestCatalog, config},
    fake_catalog::FakeCatalog,
    postgres::{Postgres, TestDatabase},
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status, Streaming, transport::Channel};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "images.deletion_grace";

/// A catalog of either kind.
enum Subject {
    Fake(FakeCatalog),
    Real(TestCatalog, TestDatabase<'static>),
}

impl Subject {
    async fn both() -> [Self; 2] {
        let database = Postgres::shared().await.unwrap().database().await.unwrap();
        let catalog = TestCatalog::start(config(&database.url)).await.unwrap();
        [
            Self::Fake(FakeCatalog::start().unwrap()),
            Self::Real(catalog, database),
        ]
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Fake(_) => "fake",
            Self::Real(..) => "real",
        }
    }

    fn channel(&self) -> Channel {
        let address = match self {
            Self::Fake(catalog) => catalog.address(),
            Self::Real(catalog, _) => catalog.address,
        };
        Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy()
    }

    async fn watch(&self, from_revision: i64, initial_state: bool) -> Result<Watch, Status> {
        let request = WatchRequest {
            from_revision,
            initial_state,
            ..WatchRequest::default()
        };
        let stream = WatchServiceClient::new(self.channel()).watch(request).await?;
        Ok(Watch(stream.into_inner()))
    }

    /// The revision up to which the initial state goes.
    async fn newest(&self) -> i64 {
        self.watch(0, true).await.unwrap().next_whole().await.1
    }

    /// Changes the setting [`KEY`]: one change, one transaction.
    async fn set(&self, value: &str) {
        match self {
            Self::Fake(catalog) => {
                let setting = Setting {
                    key: KEY.to_owned(),
                    value: value.to_owned(),
                    ..Setting::default()
                };
                catalog.commit([(ChangeOperation::Updated, Resource::Setting(setting))]);
            }
            Self::Real(catalog, _) => {
                let request = UpdateSettingRequest {
                    key: KEY.to_owned(),
                    value: value.to_owned(),
                };
                catalog.settings().update_setting(request).await.unwrap();
            }
        }
    }

    async fn forget_history(&self) {
        match self {
            Self::Fake(catalog) => catalog.forget_history(),
            Self::Real(_, database) => {
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                sqlx::query("DELETE FROM changes")
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }
    }
}

struct Watch(Streaming<WatchResponse>);

impl Watch {
    /// The changes up to the next revision that the stream says is whole, and that revision.
    async fn next_whole(&mut self) -> (Vec<Change>, i64) {
        let read = async {
            let mut changes = vec![];
            loop {
                let response = self.0.message().await.unwrap().expect("a watch does not end");
                changes.extend(response.changes);
                if response.revision > 0 {
                    return (changes, response.revision);
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the watch is silent")
    }
}

/// The value of [`KEY`] in each of the changes that have it.
fn values(changes: &[Change]) -> Vec<&str> {
    let settings = changes.iter().filter_map(|change| match &change.resource {
        Some(Resource::Setting(setting)) if setting.key == KEY => Some(setting.value.as_str()),
        _ => None,
    });
    settings.collect()
}

fn out_of_range(oldest: i64, newest: i64) -> Option<Error> {
    Some(Error::RevisionOutOfRange { oldest, newest })
}

#[tokio::test]
async fn the_initial_state_is_whole_and_what_changes_then_follows() {
    for subject in Subject::both().await {
        let name = subject.name();
        subject.set("30h").await;
        let mut watch = subject.watch(0, true).await.unwrap();
        let (state, revision) = watch.next_whole().await;
        assert_eq!(values(&state), ["30h"], "{name}");
        for change in &state {
            assert_eq!(change.operation(), ChangeOperation::State, "{name}");
        }
        subject.set("31h").await;
        let (changes, next) = watch.next_whole().await;
        assert_eq!(values(&changes), ["31h"], "{name}");
        assert_eq!(changes[0].operation(), ChangeOperation::Updated, "{name}");
        assert_eq!(
            (changes[0].revision, next),
            (revision + 1, revision + 1),
            "{name}"
        );
        assert!(changes[0].changed_at.is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_any_revision_that_is_kept() {
    for subject in Subject::both().await {
        let name = subject.name();
        let before = subject.newest().await;
        for value in ["30h", "31h", "32h"] {
            subject.set(value).await;
        }
        for (from, expected) in [
            (before + 1, &["30h", "31h", "32h"][..]),
            (before + 2, &["31h", "32h"]),
        ] {
            let mut watch = subject.watch(from, false).await.unwrap();
            let mut all = vec![];
            while all.len() < expected.len() {
                let (changes, revision) = watch.next_whole().await;
                assert_eq!(
                    changes.last().map(|change| change.revision),
                    Some(revision),
                    "{name}"
                );
                all.extend(changes);
            }
            assert_eq!(values(&all), expected, "{name} from {from}");
            let revisions: Vec<i64> = all.iter().map(|change| change.revision).collect();
            let wanted: Vec<i64> = (from..).take(expected.len()).collect();
            assert_eq!(revisions, wanted, "{name} from {from}");
        }
    }
}

#[tokio::test]
async fn a_watch_from_now_on_sees_what_comes() {
    for subject in Subject::both().await {
        let name = subject.name();
        for (value, begins_at_zero) in [("40h", true), ("41h", false)] {
            let next = subject.newest().await + 1;
            let from = if begins_at_zero { 0 } else { next };
            let mut watch = subject.watch(from, false).await.unwrap();
            subject.set(value).await;
            let (changes, _) = watch.next_whole().await;
            assert_eq!(values(&changes), [value], "{name} from {from}");
            assert_eq!(changes[0].revision, next, "{name} from {from}");
        }
    }
}

#[tokio::test]
async fn a_revision_that_is_not_kept_or_yet_to_come_is_out_of_range() {
    for subject in Subject::both().await {
        let name = subject.name();
        subject.set("30h").await;
        let newest = subject.newest().await;
        let refused = async |from| Error::from_status(&subject.watch(from, false).await.err().unwrap());
        assert_eq!(refused(newest + 2).await, out_of_range(newest, newest), "{name}");
        subject.forget_history().await;
        assert_eq!(refused(newest).await, out_of_range(newest + 1, newest), "{name}");
        assert!(subject.watch(newest + 1, false).await.is_ok(), "{name}");
        let both = subject.watch(newest, true).await.err().unwrap();
        assert_eq!(both.code(), Code::InvalidArgument, "{name}: {both}");
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_is_not_found_and_nothing_is_listed() {
    for subject in Subject::both().await {
        let name = subject.name();
        let mut images = ImageServiceClient::new(subject.channel());
        let request = GetImageRequest {
            image: "nonesuch".to_owned(),
            ..GetImageRequest::default()
        };
        let status = images.get_image(request).await.unwrap_err();
        let expected = Error::not_found(ResourceKind::Image, "nonesuch");
        assert_eq!(status.message(), expected.to_string(), "{name}");
        assert_eq!(Error::from_status(&status), Some(expected), "{name}");
        let listed = images
            .list_images(ListImagesRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (listed.images, listed.next_page_token),
            (vec![], String::new()),
            "{name}"
        );
    }
}
