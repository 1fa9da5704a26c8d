//! Webhooks: what a request may say of one.

use rootstock_model::{
    NamePattern, WebhookName,
    limits::{MAX_CHOICES, MAX_PEM_BYTES},
};

use super::remote::{count_problem, length_problem, url_problem};
use crate::{
    Error, FieldViolation,
    catalog::v1::{self as wire, ChangeKind},
};

/// What a secret may be.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=255;

/// Checks a webhook at `webhook` of a request.
///
/// # Errors
/// `INVALID_ARGUMENT` with every field that is wrong.
pub fn check_webhook(webhook: &wire::Webhook) -> Result<(), Error> {
    let mut violations = Vec::new();
    let mut check = |field: &str, problem: Option<String>| {
        violations.extend(problem.map(|description| FieldViolation {
            field: format!("webhook.{field}"),
            description,
        }));
    };
    let name = webhook.name.parse::<WebhookName>();
    check("name", name.err().map(|error| error.to_string()));
    check("url", url_problem(&webhook.url, true));
    check("kinds", count_problem(webhook.kinds.len(), MAX_CHOICES));
    let secret = SECRET_CHARS.contains(&webhook.secret.chars().count())
        && webhook.secret.chars().all(|c| c.is_ascii_graphic());
    check(
        "secret",
        (!secret).then(|| "must be 16 to 255 visible ASCII characters".to_owned()),
    );
    for (index, kind) in webhook.kinds.iter().enumerate().take(MAX_CHOICES) {
        let known = ChangeKind::try_from(*kind).is_ok_and(|kind| kind != ChangeKind::Unspecified);
        let problem = (!known).then(|| format!("{kind} is no kind of change"));
        check(&format!("kinds[{index}]"), problem);
    }
    let pattern = match webhook.name_glob.as_str() {
        "" => Ok(()),
        text => text.parse::<NamePattern>().map(drop),
    };
    check("name_glob", pattern.err().map(|error| error.to_string()));
    check("ca_pem", length_problem(&webhook.ca_pem, MAX_PEM_BYTES));
    match violations.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(violations)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> wire::Webhook {
        wire::Webhook {
            name: "ci".into(),
            url: "https://ci.example/hooks?token=x".into(),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(),
            kinds: vec![ChangeKind::Image.into()],
            ..wire::Webhook::default()
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(check_webhook(&good()), Ok(()));
        let bad = wire::Webhook {
            name: "a b".into(),
            url: "ftp://x".into(),
            secret: "short".into(),
            kinds: vec![0, 99],
            name_glob: "[a".into(),
            ca_pem: "x".repeat(MAX_PEM_BYTES + 1),
            ..wire::Webhook::default()
        };
        let Err(Error::Invalid(violations)) = check_webhook(&bad) else {
            panic!("it was taken");
        };
        let fields: Vec<_> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        let expected = [
            "name",
            "url",
            "secret",
            "kinds[0]",
            "kinds[1]",
            "name_glob",
            "ca_pem",
        ];
        assert_eq!(fields, expected.map(|field| format!("webhook.{field}")));
    }
}
