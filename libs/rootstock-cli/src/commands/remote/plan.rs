//! A plan, for people.

use rootstock_proto::catalog::v1::{Plan, PlanAction, RemoteStatus};

use crate::{
    human::{self, count},
    left_out,
    table::{Column, Table},
    transfers::Followed,
    word::Word as _,
};

/// The steps as a table, what is to be fetched, and what is left out by which rule.
pub(super) fn text(plan: &Plan, width: Option<u16>) -> String {
    let mut text = String::new();
    if !plan.steps.is_empty() {
        let mut table = Table::new(&[
            Column::always("ACTION"),
            Column::gives_way("IMAGE"),
            Column::always("TYPE"),
            Column::gives_way("SERIAL"),
            Column::always("SIZE").right(),
        ]);
        for step in &plan.steps {
            table.row([
                step.action().word(),
                step.image.clone(),
                step.r#type().word(),
                step.serial.clone(),
                human::size(step.size_bytes),
            ]);
        }
        text = table.render(width);
        text.push('\n');
    }
    text += &match plan.fetch_blobs {
        0 => "nothing to fetch\n".to_owned(),
        blobs => format!(
            "to fetch: {}, {}\n",
            count(blobs, "blob"),
            human::size(plan.fetch_bytes)
        ),
    };
    if !plan.left_out.is_empty() {
        text += &format!("left out: {}\n", plan.left_out.len());
        text += &left_out::summary(&plan.left_out);
    }
    text
}

/// One line on what a sync did.
///
/// Blobs are those that the plan said, or that were seen: a poll just before may have planned them.
pub(super) fn outcome(remote: &str, plan: &Plan, followed: &Followed, status: &RemoteStatus) -> String {
    let blobs = plan.fetch_blobs.max(followed.stored_blobs);
    let bytes = plan.fetch_bytes.max(followed.stored_bytes);
    let steps = |action: PlanAction| plan.steps.iter().filter(|step| step.action() == action).count();
    let mut parts = Vec::new();
    if blobs > 0 {
        parts.push(format!(
            "{} fetched ({})",
            count(blobs, "blob"),
            human::size(bytes)
        ));
    }
    for (action, words) in [
        (PlanAction::Fetch, "stored"),
        (PlanAction::List, "listed as available"),
        (PlanAction::Retire, "retired"),
        (PlanAction::Remove, "no longer listed"),
    ] {
        match i64::try_from(steps(action)) {
            Ok(0) | Err(_) => {}
            Ok(number) => parts.push(format!("{} {words}", count(number, "version"))),
        }
    }
    if parts.is_empty() {
        parts.push("nothing was new".to_owned());
    }
    if !plan.left_out.is_empty() {
        parts.push(format!(
            "{} left out (\"rootstock remote show {remote}\" says why)",
            plan.left_out.len()
        ));
    }
    format!(
        "synced {remote}: {}; it holds {} and {} now\n",
        parts.join(", "),
        count(status.image_count, "image"),
        count(status.active_version_count, "active version"),
    )
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1::{ImageType, LeftOut, PlanStep};

    use super::*;

    fn plan() -> Plan {
        let step = |action: PlanAction, serial: &str, size_bytes| PlanStep {
            action: action.into(),
            image: "debian:12:amd64:default".into(),
            r#type: ImageType::Container.into(),
            serial: serial.into(),
            size_bytes,
        };
        Plan {
            steps: vec![
                step(PlanAction::Retire, "20261120", 123_456_789),
                step(PlanAction::Fetch, "20261122", 123_456_789),
            ],
            fetch_bytes: 123_400_000,
            fetch_blobs: 2,
            left_out: vec![LeftOut {
                product: "ubuntu:jammy".into(),
                reason: "not-selected".into(),
                message: "no include rule for os matches".into(),
                ..LeftOut::default()
            }],
            next_page_token: String::new(),
        }
    }

    #[test]
    fn a_plan_shows_steps_bytes_and_rules() {
        assert_eq!(
            text(&plan(), None),
            "\
ACTION  IMAGE                    TYPE       SERIAL       SIZE
retire  debian:12:amd64:default  container  20261120  118 MiB
fetch   debian:12:amd64:default  container  20261122  118 MiB

to fetch: 2 blobs, 118 MiB
left out: 1
  not-selected: 1
    ubuntu:jammy: no include rule for os matches
"
        );
        assert_eq!(text(&Plan::default(), None), "nothing to fetch\n");
    }

    #[test]
    fn an_outcome_is_one_line() {
        let status = RemoteStatus {
            image_count: 1,
            active_version_count: 2,
            ..RemoteStatus::default()
        };
        assert_eq!(
            outcome("lab", &plan(), &Followed::default(), &status),
            "synced lab: 2 blobs fetched (118 MiB), 1 version stored, 1 version retired, 1 left out \
             (\"rootstock remote show lab\" says why); it holds 1 image and 2 active versions now\n"
        );
        assert_eq!(
            outcome("lab", &Plan::default(), &Followed::default(), &status),
            "synced lab: nothing was new; it holds 1 image and 2 active versions now\n"
        );
        let seen = Followed {
            stored_blobs: 3,
            stored_bytes: 4096,
            failed: vec![],
        };
        assert_eq!(
            outcome("lab", &Plan::default(), &seen, &status),
            "synced lab: 3 blobs fetched (4.00 KiB); it holds 1 image and 2 active versions now\n"
        );
    }
}
