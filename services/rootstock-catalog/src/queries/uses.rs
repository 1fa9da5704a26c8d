//! When images were last used. Apart from images, and outside the writer: nothing is promised of it.

use std::time::Duration;

use sqlx::PgPool;

use crate::failure::Failure;

/// Notes that these images were used so long ago. Those that are not there any more are passed over.
pub(crate) async fn record(pool: &PgPool, uses: &[(String, Duration)]) -> Result<(), Failure> {
    // In one order, as everywhere: whoever takes several rows takes them so.
    let mut uses: Vec<&(String, Duration)> = uses.iter().collect();
    uses.sort();
    let ids: Vec<String> = uses.iter().map(|(id, _)| id.clone()).collect();
    let ages: Vec<f64> = uses.iter().map(|(_, age)| age.as_secs_f64() * 1000.0).collect();
    sqlx::query!(
        "INSERT INTO image_uses AS u (image_id, last_used_at)
         SELECT i.id, now() - used.age_ms * interval '1 ms'
         FROM unnest($1::text[], $2::float8[]) AS used (id, age_ms) JOIN images i ON i.id = used.id
         ORDER BY i.id
         ON CONFLICT (image_id) DO UPDATE SET last_used_at = excluded.last_used_at
         WHERE u.last_used_at < excluded.last_used_at",
        &ids,
        &ages,
    )
    .execute(pool)
    .await?;
    Ok(())
}
