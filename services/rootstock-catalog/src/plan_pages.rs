//! A plan in pages: it may have more steps than one message holds.
//!
//! A plan is kept in parts that each fit into a message. The first one has the sums, and is what
//! `GetSyncRun` answers; a page of `ListSyncRunPlan` is a stretch of one part.

use prost::Message;
use rootstock_model::limits::MAX_MESSAGE_BYTES;
use rootstock_proto::{
    Error,
    catalog::v1::{LeftOut, Plan, PlanStep},
};

use crate::page::{PageStart, message_bytes, unknown_token};

/// Where a page begins: a part, and the number of its steps and of what it leaves out that come before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub part: i32,
    before: usize,
}

/// The plan in parts, at least one.
pub(crate) fn split(plan: Plan) -> Vec<Plan> {
    split_at(plan, MAX_MESSAGE_BYTES)
}

fn split_at(plan: Plan, max_bytes: usize) -> Vec<Plan> {
    let first = Plan {
        fetch_bytes: plan.fetch_bytes,
        fetch_blobs: plan.fetch_blobs,
        ..Plan::default()
    };
    let mut parts = Parts {
        done: vec![],
        open: first,
        bytes: 0,
        max_bytes,
    };
    for step in plan.steps {
        parts.make_room(&step);
        parts.open.steps.push(step);
    }
    for left_out in plan.left_out {
        parts.make_room(&left_out);
        parts.open.left_out.push(left_out);
    }
    let Parts { mut done, open, .. } = parts;
    done.push(open);
    if done.len() > 1 {
        done[0].next_page_token = Position { part: 1, before: 0 }.token();
    }
    done
}

struct Parts {
    done: Vec<Plan>,
    open: Plan,
    bytes: usize,
    max_bytes: usize,
}

impl Parts {
    fn make_room(&mut self, message: &impl Message) {
        let bytes = message_bytes(message);
        if self.bytes > 0 && self.bytes + bytes > self.max_bytes {
            self.done.push(std::mem::take(&mut self.open));
            self.bytes = 0;
        }
        self.bytes += bytes;
    }
}

impl Position {
    /// Reads a token; the beginning without one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is none that was given out.
    pub(crate) fn parse(token: &str) -> Result<Self, Error> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        let start = PageStart::parse(token, 2)?;
        match (start.part(0).parse(), start.part(1).parse()) {
            (Ok(part @ 0..), Ok(before)) => Ok(Self { part, before }),
            _ => Err(unknown_token()),
        }
    }

    fn token(self) -> String {
        PageStart::of(&[&self.part.to_string(), &self.before.to_string()]).token()
    }
}

/// At most `rows` steps and things left out of a part, from a position on, and the token of the next
/// page.
pub(crate) fn page(
    part: Plan,
    from: Position,
    rows: usize,
    is_last: bool,
) -> (Vec<PlanStep>, Vec<LeftOut>, String) {
    let count = part.steps.len() + part.left_out.len();
    let end = from.before.saturating_add(rows);
    let skipped_steps = from.before.min(part.steps.len());
    let left_out_before = from.before.saturating_sub(part.steps.len());
    let steps: Vec<PlanStep> = part.steps.into_iter().skip(skipped_steps).take(rows).collect();
    let left_out = part.left_out.into_iter().skip(left_out_before);
    let left_out = left_out.take(rows - steps.len()).collect();
    let next = match end < count {
        true => Position { before: end, ..from }.token(),
        false if is_last => String::new(),
        false => Position {
            part: from.part + 1,
            before: 0,
        }
        .token(),
    };
    (steps, left_out, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: usize, left_out: usize) -> Plan {
        Plan {
            steps: (0..steps)
                .map(|number| PlanStep {
                    image: format!("image-{number:04}"),
                    ..PlanStep::default()
                })
                .collect(),
            left_out: (0..left_out)
                .map(|number| LeftOut {
                    product: format!("product-{number:04}"),
                    ..LeftOut::default()
                })
                .collect(),
            fetch_bytes: 7,
            fetch_blobs: 3,
            next_page_token: String::new(),
        }
    }

    /// Reads a plan of these parts as a client does.
    fn read(parts: &[Plan], rows: usize, mut token: String) -> Plan {
        let mut whole = Plan::default();
        loop {
            let from = Position::parse(&token).unwrap();
            let at = usize::try_from(from.part).unwrap();
            let (steps, left_out, next) = page(parts[at].clone(), from, rows, at + 1 == parts.len());
            assert!(steps.len() + left_out.len() <= rows);
            whole.steps.extend(steps);
            whole.left_out.extend(left_out);
            if next.is_empty() {
                return whole;
            }
            token = next;
        }
    }

    #[test]
    fn a_plan_is_read_back_whole_whatever_its_parts_and_pages() {
        for (steps, left_out) in [(0, 0), (1, 0), (0, 1), (40, 25), (100, 0)] {
            for max_bytes in [1, 50, 300, MAX_MESSAGE_BYTES] {
                let plan = plan(steps, left_out);
                let parts = split_at(plan.clone(), max_bytes);
                assert_eq!((parts[0].fetch_bytes, parts[0].fetch_blobs), (7, 3));
                for part in &parts {
                    let items = part.steps.len() + part.left_out.len();
                    assert!(items <= 1 || part.encoded_len() <= max_bytes + 16);
                }
                for rows in [1, 7, 1000] {
                    let whole = read(&parts, rows, String::new());
                    assert_eq!((&whole.steps, &whole.left_out), (&plan.steps, &plan.left_out));
                }
                // With the first part at hand, from its token on.
                let mut rest = parts[0].clone();
                if !rest.next_page_token.is_empty() {
                    let more = read(&parts, 1000, rest.next_page_token.clone());
                    rest.steps.extend(more.steps);
                    rest.left_out.extend(more.left_out);
                }
                assert_eq!((rest.steps, rest.left_out), (plan.steps, plan.left_out));
            }
        }
    }

    #[test]
    fn a_token_that_was_not_given_out_is_refused() {
        for token in ["x", "1", "-1\u{1f}0", "1\u{1f}-1", "a\u{1f}b"] {
            assert!(Position::parse(token).is_err(), "{token:?}");
        }
    }
}
