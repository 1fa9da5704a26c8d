//! Globs over names: `*` is any text, `?` any one character, everything else itself.

/// Whether the whole name fits the glob. The empty glob fits every name.
pub fn matches(glob: &str, name: &str) -> bool {
    if glob.is_empty() {
        return true;
    }
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at_glob, mut at_name) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: with one more character in it.
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match glob.get(at_glob) {
            Some('*') => {
                star = Some((at_glob + 1, at_name));
                at_glob += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[at_name] => {
                at_glob += 1;
                at_name += 1;
            }
            _ => match &mut star {
                Some((after_star, covered)) => {
                    *covered += 1;
                    (at_glob, at_name) = (*after_star, *covered);
                }
                None => return false,
            },
        }
    }
    glob[at_glob..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn globs_fit_whole_names() {
        for (glob, name, fits) in [
            ("", "anything", true),
            ("*", "", true),
            ("debian", "debian", true),
            ("debian", "debian:12", false),
            ("debian*", "debian:12", true),
            ("*:amd64", "debian:12:amd64", true),
            ("*:amd64", "debian:12:amd64:default", false),
            ("*:1?:*", "debian:12:amd64", true),
            ("?", "", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
            ("é?", "éü", true),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} {name}");
        }
    }

    /// The rule, as it is said.
    fn by_definition(glob: &[char], name: &[char]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', glob)), _) => (0..=name.len()).any(|covered| by_definition(glob, &name[covered..])),
            (Some((wanted, glob)), Some((found, name))) => {
                (*wanted == '?' || wanted == found) && by_definition(glob, name)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(glob in "[ab*?]{1,7}", name in "[ab]{0,9}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&glob, &name), by_definition(&chars(&glob), &chars(&name)));
        }
    }
}
