//! `RollbackImage` and `ReleaseImage`: holding an image at a version.

use rootstock_model::{hold, limits};
use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{self as wire, ChangeOperation, ReleaseImageRequest, RollbackImageRequest},
    convert,
};
use time::OffsetDateTime;

use super::subject;
use crate::{
    Catalog,
    change::{Writer, retention},
    failure::Failure,
    queries::{images, versions::VersionRow},
    work::{Kind, Subject, schedule},
};

/// Holds an image at a version; answers it as it is shown then.
pub(super) async fn rollback(
    catalog: &Catalog,
    request: RollbackImageRequest,
) -> Result<wire::Image, Failure> {
    if request.reason.trim().is_empty() {
        return Err(Error::invalid(
            "reason",
            "is required: say why, for those who find the image held",
        )
        .into());
    }
    limits::check_text(&request.reason).map_err(|problem| Error::invalid("reason", problem))?;
    let until = until(request.until.as_ref())?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    if let Some(until) = until {
        check_future(&mut writer, until).await?;
    }
    let image = subject::find(&mut writer, &request.image, request.r#type(), &request.etag).await?;
    let rows = subject::rows(&mut writer, &image).await?;
    let row = target(&image, rows, request.version)?;
    let (number, name) = (row.version.number, &image.name);
    if row.version.status() != wire::Status::Active {
        let message = format!("{name:?} cannot be held at version {number}: it is not stored");
        return Err(Error::refused(Refusal::NotActive, message).into());
    }
    let before = image.hold.as_ref();
    let same = before.is_some_and(|before| {
        before.version == number
            && before.reason == request.reason
            && before.until.as_ref().and_then(convert::moment) == until
    });
    if !same {
        images::hold(writer.connection(), &image.id, number, &request.reason, until).await?;
        if until.is_some() {
            // It learns of the moment, and is due at it.
            schedule::wake(writer.connection(), Kind::Expire, &Subject::Store, "").await?;
        }
        writer.image(&image.id, ChangeOperation::Updated);
        tracing::info!(
            image.name = name,
            version = number,
            reason = request.reason,
            "image held"
        );
    }
    subject::commit(catalog, writer, &image.id).await
}

/// The database keeps microseconds.
fn until(until: Option<&prost_types::Timestamp>) -> Result<Option<OffsetDateTime>, Error> {
    let Some(until) = until else { return Ok(None) };
    let moment =
        convert::moment(until).ok_or_else(|| Error::invalid("until", "is no moment of the calendar"))?;
    let micros = moment.microsecond();
    Ok(Some(moment.replace_microsecond(micros).unwrap_or(moment)))
}

async fn check_future(writer: &mut Writer, until: OffsetDateTime) -> Result<(), Failure> {
    let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#)
        .fetch_one(writer.connection())
        .await?;
    if until > now {
        Ok(())
    } else {
        Err(Error::invalid("until", "is over; name a moment to come, or none").into())
    }
}

/// The version asked for; else the one that the image is held at already, so that a repeated request
/// goes no further back; else the active one before the current.
fn target(image: &wire::Image, rows: Vec<VersionRow>, wanted: Option<i32>) -> Result<VersionRow, Error> {
    let held = image.hold.as_ref().map(|hold| hold.version);
    if let Some(number) = wanted.or(held) {
        return subject::version(rows, image, number);
    }
    let current = subject::active(&rows).find(|(number, _)| Some(*number) == image.current_version);
    let previous = current.and_then(|current| hold::previous(subject::active(&rows), current));
    match previous {
        Some(number) => subject::version(rows, image, number),
        None => {
            let message = format!("{:?} has no older stored version to go back to", image.name);
            Err(Error::refused(Refusal::NotActive, message))
        }
    }
}

/// Ends a hold; answers the image as it is shown then.
pub(super) async fn release(catalog: &Catalog, request: ReleaseImageRequest) -> Result<wire::Image, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let image = subject::find(&mut writer, &request.image, request.r#type(), "").await?;
    release_holds(&mut writer, std::slice::from_ref(&image.id)).await?;
    subject::commit(catalog, writer, &image.id).await
}

/// Ends the holds of these images, and retires what was kept only for them.
pub(crate) async fn release_holds(writer: &mut Writer, ids: &[String]) -> Result<(), Failure> {
    let released = images::release(writer.connection(), ids).await?;
    for id in &released {
        writer.image(id, ChangeOperation::Updated);
        tracing::info!(image.id = id, "image released");
    }
    retention::enforce(writer, &released).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(statuses: &[wire::Status]) -> Vec<VersionRow> {
        let rows = (0..).zip(statuses).map(|(number, status)| VersionRow {
            id: i64::from(number),
            image_id: "one".to_owned(),
            image_name: "base".to_owned(),
            version: wire::Version {
                number,
                serial: format!("2026010{number}"),
                status: (*status).into(),
                ..wire::Version::default()
            },
        });
        rows.collect()
    }

    #[test]
    fn a_rollback_goes_to_the_version_named_or_held_or_before() {
        use wire::Status::{Active, Available};
        let image = |current, held: Option<i32>| wire::Image {
            name: "base".to_owned(),
            current_version: current,
            hold: held.map(|version| wire::Hold {
                version,
                ..wire::Hold::default()
            }),
            ..wire::Image::default()
        };
        let number = |image: &wire::Image, statuses: &[_], wanted| {
            target(image, rows(statuses), wanted).map(|row| row.version.number)
        };
        let current = image(Some(2), None);
        assert_eq!(number(&current, &[Active; 3], None).unwrap(), 1, "the one before");
        assert_eq!(
            number(&current, &[Active, Available, Active], None).unwrap(),
            0,
            "that is stored"
        );
        assert_eq!(
            number(&current, &[Active; 3], Some(0)).unwrap(),
            0,
            "the one named"
        );
        let held = image(Some(1), Some(1));
        assert_eq!(
            number(&held, &[Active; 3], None).unwrap(),
            1,
            "a repeated call goes no further"
        );
        let missing = number(&current, &[Active; 3], Some(9)).unwrap_err().to_string();
        assert!(missing.contains("base version 9"), "{missing}");
        for (image, statuses) in [
            (image(Some(0), None), &[Active][..]),
            (image(None, None), &[Available]),
        ] {
            let refused = number(&image, statuses, None).unwrap_err().to_string();
            assert!(refused.contains("no older stored version"), "{refused}");
        }
    }

    #[test]
    fn the_end_of_a_hold_is_kept_to_the_microsecond() {
        assert_eq!(until(None).unwrap(), None);
        let timestamp = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
        let kept = until(Some(&timestamp(5, 123_456_789))).unwrap().unwrap();
        assert_eq!((kept.unix_timestamp(), kept.nanosecond()), (5, 123_456_000));
        assert!(until(Some(&timestamp(i64::MAX, 0))).is_err());
    }
}
