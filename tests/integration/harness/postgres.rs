use rootstock_tests::postgres::{Postgres, Stop};
use sqlx::{Connection as _, PgConnection};

async fn count_tables(url: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(count)
}

async fn make_table(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("CREATE TABLE kept (id int)")
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

async fn add_row(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("INSERT INTO kept VALUES (1)")
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

async fn count_rows(url: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM kept")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(count)
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() -> anyhow::Result<()> {
    let server = Postgres::shared().await?;
    let (one, two) = (server.database().await?, server.database().await?);
    make_table(&one.url).await?;
    assert_eq!(count_tables(&one.url).await?, 1);
    assert_eq!(count_tables(&two.url).await?, 0);
    let copy = server.database_from(one.name()).await?;
    assert_eq!(count_tables(&copy.url).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_server_of_ones_own_stops_and_starts_on_its_socket() -> anyhow::Result<()> {
    let server = Postgres::start_own().await?;
    let database = server.database().await?;
    make_table(&database.url).await?;
    for (rows, how) in [(1, Stop::Fast), (2, Stop::Immediate)] {
        add_row(&database.url).await?;
        server.stop(how).await?;
        assert!(
            PgConnection::connect(&database.url).await.is_err(),
            "stopped ({how:?}), yet it answers"
        );
        server.start().await?;
        assert_eq!(count_rows(&database.url).await?, rows, "what was committed stays");
    }
    Ok(())
}
