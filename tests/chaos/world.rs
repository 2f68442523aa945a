//! Everything that one run is made of.

use crate::{
    checker::Moment,
    disk::Disk,
    fleet::{Fleet, MEMBERS},
    load::Caller,
    provider::Provider,
    recordings::{BUSINESSES, CANARIES, CANARY_BUSINESS, Recording, slots},
    standby::{By, Replication, Standby},
    support::Database,
    watch::Watch,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{path::Path, str::FromStr, time::Duration};

/// Few enough to be exhausted soon.
pub const MAX_CONNECTIONS: u32 = 60;

pub struct World {
    pub seed: u64,
    pub fleet: Fleet,
    pub nodes: Standby,
    /// Since the last failover.
    pub stands_alone: bool,
    /// Straight to the primary.
    pub sql: PgPool,
    pub disk: Disk,
    /// When the disk was full, and how long that was felt.
    pub full: Vec<(Moment, Moment)>,
    pub provider: Provider,
    pub caller: Caller,
    pub watch: Watch,
    canaries: u32,
}

impl World {
    /// All of it runs and is ready; the schema is migrated by the fleet itself.
    pub async fn begin(seed: u64, folder: &Path) -> Self {
        let nodes = Standby::start(By::Socket, Replication::Synchronous, MAX_CONNECTIONS).await;
        let provider = Provider::start(seed).await.unwrap();
        let disk = Disk::at(&folder.join("recordings"));
        let mut fleet = Fleet::new(folder, &nodes, &provider, &disk.folder);
        (0..MEMBERS).for_each(|place| fleet.start(place));
        let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(Duration::from_secs(2));
        let sql = pool.connect_lazy_with(straight_to(&nodes));
        let urls: Vec<String> = fleet.members.iter().map(|member| member.url.clone()).collect();
        let caller = Caller::new(seed, provider.clone(), &urls, sql.clone(), nodes.database().url);
        let watch = Watch::default();
        let mut world = Self {
            seed,
            fleet,
            nodes,
            stands_alone: false,
            sql,
            disk,
            full: Vec::new(),
            provider,
            caller,
            watch,
            canaries: CANARIES,
        };
        world.ready().await;
        world.limit_slots().await;
        world
    }

    /// The primary alone.
    pub fn database(&self) -> Database {
        self.nodes.database_at(&[self.nodes.primary()])
    }

    /// What looks at the database from outside goes to the new primary, too.
    pub fn follow_primary(&self) {
        self.sql.set_connect_options(straight_to(&self.nodes));
    }

    async fn ready(&mut self) {
        crate::support::eventually("a fleet that is ready", async || {
            assert_eq!(self.fleet.ended_by_itself(), Vec::<String>::new());
            self.are_ready().await.then_some(())
        })
        .await;
    }

    async fn limit_slots(&self) {
        for business in (1..=i64::from(BUSINESSES)).chain([CANARY_BUSINESS]) {
            let slots = i32::try_from(slots(business)).unwrap();
            let insert = "insert into business (business_id, max_slots) values ($1, $2)";
            sqlx::query(insert).bind(business).bind(slots).execute(&self.sql).await.unwrap();
        }
    }

    pub async fn are_ready(&self) -> bool {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build().unwrap();
        for member in &self.fleet.members {
            let answer = client.get(format!("{}/readyz", member.url)).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    /// Of the canaries' business; it is the caller's to tell of it.
    pub fn canary(&mut self) -> Recording {
        self.canaries += 1;
        Recording::new(self.seed, self.canaries)
    }

    /// Leases whose holder is no process of now.
    pub async fn old_leases(&self) -> Result<i64, sqlx::Error> {
        let living: Vec<i32> = self.fleet.pids().into_iter().map(u32::cast_signed).collect();
        let old = "select count(*) from job_lease l left join instance i using (instance_id)
                    where i.pid is null or not i.pid = any ($1)";
        sqlx::query_scalar(old).bind(living).fetch_one(&self.sql).await
    }

    /// Every worker has begun a download since.
    pub fn all_work(&self, since: Moment) -> bool {
        crate::fleet::WORKERS.iter().all(|place| self.provider.saw(self.fleet.members[*place].name, since))
    }
}

fn straight_to(nodes: &Standby) -> PgConnectOptions {
    let url = nodes.database_at(&[nodes.primary()]).url;
    PgConnectOptions::from_str(&url).unwrap().options([("search_path", "callspool")]).application_name("chaos")
}
