//! Name patterns: the database's lists and the model's filters mean the same by them.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rootstock_model::NamePattern;
use rootstock_proto::catalog::v1::ListImagesRequest;
use rootstock_tests::postgres::Postgres;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use super::{calls::offer_and_store, remote, start};

/// Pairs that are tried.
const PAIRS: usize = 4000;

/// Characters that mean something to a pattern or to a regular expression, both cases, and some beyond ASCII.
const CHARACTERS: &str = r"abcABC**??[]{},!^\.|()+$/:éÉ_ß%-";

fn text(random: &mut StdRng, longest: usize) -> String {
    let characters: Vec<char> = CHARACTERS.chars().collect();
    let length = random.random_range(0..=longest);
    (0..length).map(|_| *characters.choose(random).unwrap()).collect()
}

#[tokio::test]
async fn sql_and_rust_agree_on_random_patterns_and_names() {
    let mut random = StdRng::seed_from_u64(20_261_128);
    let (mut patterns, mut regexes, mut names) = (vec![], vec![], vec![]);
    while patterns.len() < PAIRS {
        let Ok(pattern) = text(&mut random, 10).parse::<NamePattern>() else {
            continue;
        };
        regexes.push(pattern.to_postgres_regex().to_owned());
        patterns.push(pattern);
        names.push(text(&mut random, 8));
    }
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let found: Vec<bool> = sqlx::query_scalar(
        r#"SELECT lower(name COLLATE "C") ~ regex
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS pairs (name, regex, position) ORDER BY position"#,
    )
    .bind(&names)
    .bind(&regexes)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut matching = 0;
    for ((pattern, name), in_sql) in patterns.iter().zip(&names).zip(found) {
        assert_eq!(pattern.matches(name), in_sql, "{pattern:?} {name:?}");
        matching += usize::from(in_sql);
    }
    assert!(matching > PAIRS / 100, "only {matching} matched");
}

#[tokio::test]
async fn a_list_is_narrowed_by_a_pattern_and_refuses_what_is_none() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(
        &catalog,
        &["alpine:3.20", "debian:12", "debian:13", "ubuntu:noble"],
        &["1"],
    )
    .await;
    for (pattern, expected) in [
        ("debian:*", &["debian:12", "debian:13"][..]),
        ("DEBIAN:1[23]", &["debian:12", "debian:13"]),
        ("{alpine,ubuntu}:*", &["alpine:3.20", "ubuntu:noble"]),
        ("*:1?", &["debian:12", "debian:13"]),
        ("debian", &[]),
    ] {
        let request = ListImagesRequest {
            name: pattern.to_owned(),
            ..ListImagesRequest::default()
        };
        let answer = catalog.images().list_images(request).await.unwrap().into_inner();
        let names: Vec<_> = answer.images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, expected, "{pattern}");
    }
    let request = ListImagesRequest {
        name: "debian:[1".to_owned(),
        ..ListImagesRequest::default()
    };
    let refused = catalog.images().list_images(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with("name: has a [ without a ]"),
        "{refused:?}"
    );
}
