//! What the migrator's session is set to.

use super::super::StoreConfig;
use crate::domain::migration_script::application_search_path;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::time::Duration;

/// Undoes what a script did to who we are.
pub(super) const AS_OURSELVES: &str = "reset session authorization; reset role";

/// Timeouts, a server that notices a dead client within seconds, also one whose host is gone, and nothing that a file
/// before set: a dump sets timeouts, `search_path` and roles. `search_path`: `None` is what the application has.
pub(super) async fn configure(
    connection: &mut PgConnection,
    config: &StoreConfig,
    statement_timeout: Option<Duration>,
    lock_timeout: Option<Duration>,
    search_path: Option<String>,
) -> Result<(), sqlx::Error> {
    connection.execute(AS_OURSELVES).await?;
    connection.execute("reset all").await?;
    let statement_timeout = statement_timeout.unwrap_or(config.migration_statement_timeout);
    let lock_timeout = lock_timeout.unwrap_or(config.migration_lock_timeout);
    let for_application = search_path.is_none();
    let mut wanted = vec![
        ("statement_timeout", milliseconds(statement_timeout)),
        ("lock_timeout", milliseconds(lock_timeout)),
        ("transaction_timeout", "0".to_owned()),
        // A migrator is idle for less than a second. One that is frozen must not keep the lock from the fleet for ever.
        ("idle_session_timeout", "60s".to_owned()),
        ("idle_in_transaction_session_timeout", "60s".to_owned()),
        ("client_connection_check_interval", "1s".to_owned()),
        ("tcp_keepalives_idle", "10".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", "20s".to_owned()),
    ];
    wanted.extend(search_path.map(|path| ("search_path", path)));
    let (names, values): (Vec<&str>, Vec<String>) = wanted.into_iter().unzip();
    // A setting that this server does not have is left alone.
    sqlx::query(
        "select set_config(wanted.name, wanted.value, false)
           from unnest($1::text[], $2::text[]) as wanted (name, value) join pg_settings using (name)",
    )
    .bind(names)
    .bind(values)
    .execute(&mut *connection)
    .await?;
    if for_application {
        connection.execute(AssertSqlSafe(application_search_path(&config.schema))).await?;
    }
    Ok(())
}

/// As PostgreSQL takes it; zero is "no limit" there too.
pub(super) fn milliseconds(timeout: Duration) -> String {
    format!("{}ms", timeout.as_millis())
}
