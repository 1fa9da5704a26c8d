use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .parse::<NamePattern>()
        .unwrap_or_else(|error| panic!("{pattern} {error}"))
        .matches(name)
}

#[test]
fn a_pattern_matches_whole_names() {
    for (pattern, name, fits) in [
        ("", "", true),
        ("", "anything", false),
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
        ("**", "x/y", true),
        ("é?", "éü", true),
        ("É", "é", false),
        ("Debian", "DEBIAN", true),
        ("ubuntu/2[24].04", "ubuntu/24.04", true),
        ("ubuntu/2[24].04", "ubuntu/23.04", false),
        ("[!a-c]", "d", true),
        ("[!a-c]", "B", false),
        ("[^a]", "b", true),
        ("[A-C]x", "bX", true),
        ("[]]", "]", true),
        ("[a-]", "-", true),
        ("[\\]a]", "]", true),
        ("[Z-a]", "z", true),
        ("[Z-a]", "A", true),
        ("[Z-a]", "b", false),
        ("{debian,ubuntu}/*", "ubuntu/noble", true),
        ("{debian,ubuntu}/*", "alpine/edge", false),
        ("{a{b,c},d}e", "ace", true),
        ("{a{b,c},d}e", "de", true),
        ("{a{b,c},d}e", "ae", false),
        ("x{,y}", "x", true),
        ("a,b", "a,b", true),
        ("{a\\,b}", "a,b", true),
        ("\\*", "*", true),
        ("\\*", "x", false),
        ("a+(b)$", "a+(b)$", true),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_its_reason() {
    for (text, problem) in [
        ("[a", InvalidPattern::OpenClass),
        ("[", InvalidPattern::OpenClass),
        ("[]", InvalidPattern::OpenClass),
        ("[a-", InvalidPattern::OpenClass),
        ("[a\\", InvalidPattern::OpenClass),
        ("[z-a]", InvalidPattern::BadRange),
        ("{a,b", InvalidPattern::OpenAlternatives),
        ("a}", InvalidPattern::StrayBrace),
        ("{a}}", InvalidPattern::StrayBrace),
        ("a\\", InvalidPattern::StrayBackslash),
        ("a\nb", InvalidPattern::ControlCharacter),
        (&"x".repeat(MAX_PATTERN_BYTES + 1), InvalidPattern::TooLong),
    ] {
        assert_eq!(text.parse::<NamePattern>(), Err(problem), "{text}");
    }
}

#[test]
fn it_becomes_a_regular_expression() {
    for (pattern, regex) in [
        ("Debian*", "^debian.*$"),
        ("a.b?", r"^a\.b.$"),
        ("[!A-C_]", r"^[^A-Ca-c\_]$"),
        ("{a,b*}", "^(?:a|b.*)$"),
        ("a|b", r"^a\|b$"),
    ] {
        let pattern: NamePattern = pattern.parse().unwrap();
        assert_eq!(pattern.to_postgres_regex(), regex);
    }
}

#[test]
fn a_pattern_of_many_stars_is_matched_in_a_moment() {
    let pattern = format!("{}b", "*a".repeat(100));
    let begun = std::time::Instant::now();
    assert!(!matches(&pattern, &"a".repeat(255)));
    // Backtracking would take longer than the universe is old.
    assert!(begun.elapsed().as_secs() < 10);
}

/// The rule, as it is said, of patterns without classes and alternatives.
fn by_definition(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', pattern)), _) => (0..=name.len()).any(|covered| by_definition(pattern, &name[covered..])),
        (Some((wanted, pattern)), Some((found, name))) => {
            (*wanted == '?' || wanted.eq_ignore_ascii_case(found)) && by_definition(pattern, name)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn it_is_what_the_definition_says(pattern in "[abA*?]{1,7}", name in "[abA]{0,9}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(matches(&pattern, &name), by_definition(&chars(&pattern), &chars(&name)));
    }

    #[test]
    fn no_text_makes_it_panic(pattern in "[ab*?\\[\\]{},!^\\\\-]{0,12}", name in "[ab,\\[]{0,6}") {
        if let Ok(pattern) = pattern.parse::<NamePattern>() {
            pattern.matches(&name);
        }
    }
}
