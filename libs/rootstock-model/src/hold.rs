//! Holds: an image is shown at one version, and newer ones are hidden until it is released.

use crate::plan;

/// What is shown of an image's active versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The number of the version that clients get: the newest that is not hidden.
    pub current: Option<i32>,
    /// Numbers of the hidden ones, in ascending order.
    pub hidden: Vec<i32>,
}

/// What is shown of these active versions, as (number, serial), under a hold at a version, given
/// likewise. That one need not be active itself: what is newer is hidden all the same.
pub fn view<'v>(active: impl IntoIterator<Item = (i32, &'v str)>, held: Option<(i32, &str)>) -> View {
    let is_hidden = |version: &(i32, &str)| held.is_some_and(|held| plan::order(*version, held).is_gt());
    let (hidden, shown): (Vec<_>, Vec<_>) = active.into_iter().partition(is_hidden);
    let mut hidden: Vec<i32> = hidden.into_iter().map(|(number, _)| number).collect();
    hidden.sort_unstable();
    let current = shown.into_iter().max_by(|a, b| plan::order(*a, *b));
    View {
        current: current.map(|(number, _)| number),
        hidden,
    }
}

/// The number of the version before `current` among the active ones: what a rollback that names none
/// goes back to.
pub fn previous<'v>(active: impl IntoIterator<Item = (i32, &'v str)>, current: (i32, &str)) -> Option<i32> {
    let older = active
        .into_iter()
        .filter(|version| plan::order(*version, current).is_lt());
    older.max_by(|a, b| plan::order(*a, *b)).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Case<'a> = (
        &'a [(i32, &'a str)],
        Option<(i32, &'a str)>,
        Option<i32>,
        &'a [i32],
    );

    #[test]
    fn what_is_newer_than_the_held_version_is_hidden() {
        let three = [(0, "1.9"), (1, "1.10"), (2, "1.11")];
        let cases: [Case<'_>; 7] = [
            (&[], None, None, &[]),
            (&three, None, Some(2), &[]),
            (&three, Some((1, "1.10")), Some(1), &[2]),
            (&three, Some((2, "1.11")), Some(2), &[]),
            // The same serial anew is newer; a late older one is not.
            (
                &[(1, "1.10"), (3, "1.10"), (4, "1.8")],
                Some((1, "1.10")),
                Some(1),
                &[3],
            ),
            // The held version left the store: nothing newer takes its place.
            (&[(2, "1.11")], Some((1, "1.10")), None, &[2]),
            (&[(0, "1.9"), (2, "1.11")], Some((1, "1.10")), Some(0), &[2]),
        ];
        for (active, held, current, hidden) in cases {
            let expected = View {
                current,
                hidden: hidden.to_vec(),
            };
            assert_eq!(
                view(active.iter().copied(), held),
                expected,
                "{active:?} {held:?}"
            );
        }
    }

    #[test]
    fn a_rollback_goes_to_the_version_before() {
        let three = [(0, "1.9"), (1, "1.10"), (2, "1.11")];
        assert_eq!(previous(three, (2, "1.11")), Some(1));
        assert_eq!(previous(three, (1, "1.10")), Some(0));
        assert_eq!(previous(three, (0, "1.9")), None);
    }

    proptest! {
        #[test]
        fn each_active_version_is_hidden_or_not_newer_than_the_current(
            serials in prop::collection::vec("[0-9]{1,2}", 0..6), held in 0..6usize, holds: bool
        ) {
            let active: Vec<(i32, &str)> = (0..).zip(serials.iter().map(String::as_str)).collect();
            let held = active.get(held).copied().filter(|_| holds);
            let view = view(active.iter().copied(), held);
            if let Some(held) = held {
                prop_assert_eq!(view.current, Some(held.0));
            }
            prop_assert_eq!(view.current.is_none(), active.is_empty());
            for version in &active {
                let hidden = view.hidden.contains(&version.0);
                prop_assert_eq!(hidden, held.is_some_and(|held| plan::order(*version, held).is_gt()));
            }
        }
    }
}
