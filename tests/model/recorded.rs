//! What the database did, written down by triggers in the test's own database: each changed row in the order of the
//! changes, and each transaction in the order of the commits.

use crate::support::Database;
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use std::collections::BTreeMap;

/// A deferred trigger runs at the commit. It takes a lock that is given back when the commit is visible, so that the
/// numbers are in the order in which commits become visible. `current_query` is what the client sent: it tells what a
/// transaction is for.
const TRIGGERS: &str = "
    create sequence callspool.trace_seq;
    create table callspool.trace_change (
        seq bigint not null default nextval('callspool.trace_seq'), xid bigint not null default txid_current(),
        place text not null, op text not null, old jsonb, new jsonb, query text not null default current_query(),
        who text not null default current_setting('application_name')
    );
    create table callspool.trace_commit (xid bigint primary key, seq bigint not null);
    create function callspool.trace_change() returns trigger language plpgsql as $$
    begin
        insert into callspool.trace_change (place, op, old, new)
        values (tg_argv[0], tg_op, to_jsonb(old), to_jsonb(new));
        return null;
    end $$;
    create function callspool.trace_commit() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock(5);
        if not exists (select from callspool.trace_commit where xid = txid_current()) then
            insert into callspool.trace_commit values (txid_current(), nextval('callspool.trace_seq'));
        end if;
        return null;
    end $$;
    create constraint trigger trace_commit after insert on callspool.trace_change deferrable initially deferred
        for each row execute function callspool.trace_commit();
    do $$
    declare place text;
    begin
        foreach place in array array['business', 'job', 'job_ready', 'job_scheduled', 'job_lease', 'job_history',
                                     'doorbell'] loop
            execute format('create trigger trace_change after insert or update or delete on callspool.%I
                            for each row execute function callspool.trace_change(%L)', place, place);
        end loop;
    end $$";

/// One changed row, or an event of the fleet that the database has no row for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Change {
    pub seq: i64,
    xid: i64,
    pub place: String,
    pub op: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
    query: String,
    who: String,
}

impl Change {
    /// The instance whose connection it was.
    pub fn instance(&self) -> &str {
        self.who.trim_start_matches("callspool/")
    }

    pub fn is(&self, place: &str, op: &str) -> bool {
        self.place == place && self.op == op
    }

    /// A number of the row as it is, or as it was where it is gone.
    pub fn number(&self, column: &str) -> i64 {
        self.new.as_ref().or(self.old.as_ref()).unwrap()[column].as_i64().unwrap()
    }

    pub fn text(&self, column: &str) -> &str {
        self.new.as_ref().or(self.old.as_ref()).unwrap()[column].as_str().unwrap()
    }
}

/// One that was committed and has changed something.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its place in the order of the commits, among the numbers of the changes.
    pub commit: i64,
    /// What the client asked for.
    pub query: String,
    pub changes: Vec<Change>,
}

/// From now on all is written down.
pub async fn begin(database: &Database) {
    let mut connection = database.connect().await;
    connection.execute(TRIGGERS).await.unwrap();
    connection.close().await.unwrap();
}

/// Says what a claimer did that changes no row.
pub async fn say(connection: &mut PgConnection, claimer: usize, what: &str, job_id: i64) {
    let insert = "insert into trace_change (place, op, new) values ('fleet', $1, jsonb_build_object('claimer', $2::bigint,
                                                                                              'job_id', $3::bigint))";
    sqlx::query(insert)
        .bind(what)
        .bind(i64::try_from(claimer).unwrap())
        .bind(job_id)
        .execute(connection)
        .await
        .unwrap();
}

/// What was written down, in the order of the commits.
pub async fn transactions(connection: &mut PgConnection) -> Vec<Transaction> {
    let commits: Vec<(i64, i64)> =
        sqlx::query_as("select xid, seq from trace_commit order by seq").fetch_all(&mut *connection).await.unwrap();
    let changes: Vec<Change> =
        sqlx::query_as("select * from trace_change order by seq").fetch_all(connection).await.unwrap();
    let mut of: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    for change in changes {
        of.entry(change.xid).or_default().push(change);
    }
    let transaction = |(xid, commit)| {
        let changes = of.remove(&xid).unwrap();
        Transaction { commit, query: changes[0].query.clone(), changes }
    };
    commits.into_iter().map(transaction).collect()
}
