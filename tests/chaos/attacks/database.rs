//! The database restarts, fails over, ends sessions, is full of them, and cannot forget what a transaction may still want to see.

use super::Held;
use crate::world::{MAX_CONNECTIONS, World};
use sqlx::{Connection, PgConnection};

pub(super) async fn restart(mode: &str, world: &World) -> Held {
    world.nodes.restart(world.nodes.primary(), mode).await;
    Held::Nothing
}

/// The one that was killed at the last failover comes back first, as this primary's synchronous standby.
pub(super) async fn kill_primary(world: &mut World) -> Held {
    let primary = world.nodes.primary();
    if std::mem::take(&mut world.stands_alone) {
        world.nodes.rejoin(1 - primary).await;
    }
    world.nodes.kill(primary).await;
    Held::Nothing
}

pub(super) async fn promote(world: &mut World) {
    world.nodes.promote(1 - world.nodes.primary()).await;
    world.stands_alone = true;
    world.follow_primary();
}

const TERMINATE: &str = "
    select count(pg_terminate_backend(pid)) from pg_stat_activity
     where datname = current_database() and application_name like 'callspool%' and pid <> pg_backend_pid()";

pub(super) async fn terminate(world: &World) -> Result<Held, String> {
    let ended: Result<i64, _> = sqlx::query_scalar(TERMINATE).fetch_one(&world.sql).await;
    ended.map(|_| Held::Nothing).map_err(|error| format!("no session could be ended: {error}"))
}

/// An application's transaction, which also enqueues.
pub(super) async fn hold_transaction(world: &mut World) -> Result<Held, String> {
    let canary = world.canary();
    let failed = |error: sqlx::Error| format!("no transaction could be held: {error}");
    let mut connection = PgConnection::connect(&world.database().url).await.map_err(failed)?;
    let begin = "begin isolation level repeatable read";
    sqlx::raw_sql(begin).execute(&mut connection).await.map_err(failed)?;
    world.caller.ledger.begins(canary.number);
    sqlx::query("select callspool.enqueue(business_id => $1, call_sid => $2, recording_url => $3)")
        .bind(canary.business_id)
        .bind(canary.call_sid())
        .bind(world.provider.url(&canary))
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    Ok(Held::Transaction(connection, canary.number))
}

/// Another attack may have ended it.
pub(super) async fn commit(mut connection: PgConnection, number: u32, world: &World) {
    if sqlx::raw_sql("commit").execute(&mut connection).await.is_ok() {
        world.caller.ledger.accepted(number);
    }
}

/// Idle sessions in all places, also in those that the fleet's are made to leave.
pub(super) async fn exhaust(world: &World) -> Result<Held, String> {
    let mut connections = Vec::new();
    for round in 0..2 {
        while let Ok(connection) = PgConnection::connect(&world.database().url).await {
            connections.push(connection);
            if connections.len() > MAX_CONNECTIONS as usize {
                return Err("there is no end to connections".to_owned());
            }
        }
        if round == 0 {
            terminate(world).await?;
        }
    }
    Ok(Held::Connections(connections))
}
