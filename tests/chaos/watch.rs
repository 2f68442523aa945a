//! Looks at the database twice a second, by a way that nobody attacks: does the law hold, and who is who.

use crate::checker::law;
use sqlx::{PgConnection, PgPool};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

const PACE: Duration = Duration::from_millis(500);

/// Clones are the same.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    broken: BTreeSet<String>,
    /// Instance by pid: each life has beaten once before it works.
    instances: HashMap<u32, String>,
    looks: u32,
}

impl Watch {
    /// Until it is aborted. What cannot be asked just now is asked the next time.
    pub async fn look(self, sql: PgPool) {
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            if let Ok(mut connection) = sql.acquire().await {
                _ = self.look_once(&mut connection).await;
            }
        }
    }

    pub async fn look_once(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let broken = law::check(&mut *connection).await?;
        let instances: Vec<(i32, String)> =
            sqlx::query_as("select pid, instance_id::text from instance").fetch_all(&mut *connection).await?;
        let mut watched = self.0.lock().unwrap();
        watched.looks += 1;
        watched.broken.extend(broken);
        watched.instances.extend(instances.into_iter().map(|(pid, instance)| (pid.cast_unsigned(), instance)));
        Ok(())
    }

    pub fn broken(&self) -> Vec<String> {
        self.0.lock().unwrap().broken.iter().cloned().collect()
    }

    pub fn looks(&self) -> u32 {
        self.0.lock().unwrap().looks
    }

    pub fn instance_of(&self, pid: u32) -> Option<String> {
        self.0.lock().unwrap().instances.get(&pid).cloned()
    }
}
