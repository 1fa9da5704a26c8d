//! Selection: which of a remote's images are taken, in which form, and how many versions of each
//! (semantics §2.3).

use std::{fmt, str::FromStr};

use crate::{
    NamePattern, Reason, RootFtype, VersionConstraint,
    pattern::InvalidPattern,
    snapshot::{Content, OfferedImage},
};

/// What a remote's rules choose by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SelectionKey {
    /// The product's name.
    Product,
    /// Any of its aliases.
    Alias,
    /// `os` of the index.
    Os,
    /// `release` of the index.
    Release,
    /// `variant` of the index.
    Variant,
    /// The architecture, by the kernel's name or the index's.
    Architecture,
    /// `container` or `virtual-machine`.
    Type,
}

impl SelectionKey {
    /// All keys.
    pub const ALL: [Self; 7] = [
        Self::Product,
        Self::Alias,
        Self::Os,
        Self::Release,
        Self::Variant,
        Self::Architecture,
        Self::Type,
    ];

    /// The key as users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Alias => "alias",
            Self::Os => "os",
            Self::Release => "release",
            Self::Variant => "variant",
            Self::Architecture => "architecture",
            Self::Type => "type",
        }
    }
}

/// One rule: `KEY=PATTERN`, see [`pattern`](crate::pattern).
#[derive(Debug, Clone)]
pub struct Rule {
    key: SelectionKey,
    text: String,
    pattern: NamePattern,
}

/// The text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?} is invalid: {problem}")]
pub struct InvalidRule {
    /// The refused text.
    pub rule: String,
    /// What is wrong.
    pub problem: String,
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(rule: &str) -> Result<Self, InvalidRule> {
        let invalid = |problem: String| InvalidRule {
            rule: rule.to_owned(),
            problem,
        };
        let (key, pattern) = rule
            .split_once('=')
            .ok_or_else(|| invalid("write it as KEY=PATTERN".to_owned()))?;
        let key = SelectionKey::ALL
            .into_iter()
            .find(|known| known.as_str() == key)
            .ok_or_else(|| {
                let known = SelectionKey::ALL.map(SelectionKey::as_str).join(", ");
                invalid(format!("{key:?} is no key; the keys are {known}"))
            })?;
        let pattern = pattern
            .parse()
            .map_err(|error: InvalidPattern| invalid(format!("the pattern {error}")))?;
        Ok(Self {
            key,
            text: rule.to_owned(),
            pattern,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Rule {}

impl Rule {
    fn matches(&self, image: &OfferedImage) -> bool {
        match self.key {
            SelectionKey::Product => self.pattern.matches(image.product.as_str()),
            SelectionKey::Alias => image
                .aliases
                .iter()
                .any(|alias| self.pattern.matches(alias.as_str())),
            SelectionKey::Os => self.pattern.matches(image.property("os")),
            SelectionKey::Release => self.pattern.matches(image.property("release")),
            SelectionKey::Variant => self.pattern.matches(image.property("variant")),
            SelectionKey::Architecture => {
                self.pattern.matches(image.architecture.kernel_name())
                    || self.pattern.matches(image.architecture.simplestreams_name())
            }
            SelectionKey::Type => self.pattern.matches(image.image_type.as_str()),
        }
    }
}

/// How a remote's images come into the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// New versions are stored as they appear.
    Mirror,
    /// Versions are listed as available; the bytes come at first use.
    OnDemand,
}

impl Mode {
    /// `mirror` or `on-demand`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirror => "mirror",
            Self::OnDemand => "on-demand",
        }
    }
}

/// The rules of one remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Mirror or on-demand.
    pub mode: Mode,
    /// For each key named here, at least one rule must match. Empty: everything.
    pub include: Vec<Rule>,
    /// Nothing that one of these matches is taken.
    pub exclude: Vec<Rule>,
    /// Roots in order of preference; those not named come after, in the default order.
    pub root_preference: Vec<RootFtype>,
    /// Newest versions kept of each image, at least 1.
    pub keep_versions: u32,
    /// The release that versions must be of; `None`: any.
    pub version_constraint: Option<VersionConstraint>,
}

impl Selection {
    /// Takes everything, as a mirror.
    pub fn everything(keep_versions: u32) -> Self {
        Self {
            mode: Mode::Mirror,
            include: vec![],
            exclude: vec![],
            root_preference: vec![],
            keep_versions,
            version_constraint: None,
        }
    }

    /// Whether the image is taken; if not, the reason and the rule that says so.
    ///
    /// # Errors
    /// The rule that leaves the image out.
    pub fn check(&self, image: &OfferedImage) -> Result<(), (Reason, String)> {
        for key in SelectionKey::ALL {
            let mut rules = self.include.iter().filter(|rule| rule.key == key).peekable();
            if rules.peek().is_some() && !rules.any(|rule| rule.matches(image)) {
                return Err((
                    Reason::NotSelected,
                    format!("no include rule for {} matches", key.as_str()),
                ));
            }
        }
        match self.exclude.iter().find(|rule| rule.matches(image)) {
            Some(rule) => Err((Reason::NotSelected, format!("excluded by {rule}"))),
            None => Ok(()),
        }
    }

    /// Whether versions of this serial count.
    pub fn admits(&self, serial: &str) -> bool {
        self.version_constraint
            .is_none_or(|constraint| constraint.admits(serial))
    }

    /// The content to take of those offered: the most preferred root; a unified file only when
    /// there is nothing else. `None` when nothing is offered.
    pub fn choose<'a>(&self, contents: &'a [Content]) -> Option<&'a Content> {
        contents.iter().min_by_key(|content| match content {
            Content::Split { root, .. } => self.rank(root.ftype),
            Content::Unified { .. } => usize::MAX,
        })
    }

    fn rank(&self, ftype: RootFtype) -> usize {
        self.root_preference
            .iter()
            .chain(&RootFtype::ALL)
            .position(|preferred| *preferred == ftype)
            .unwrap_or(usize::MAX)
    }
}
