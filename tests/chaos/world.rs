//! Everything that one run is made of.

use crate::{
    checker::Moment,
    cluster::Cluster,
    disk::Disk,
    fleet::{Fleet, MEMBERS},
    load::Caller,
    provider::Provider,
    recordings::{BUSINESSES, CANARIES, CANARY_BUSINESS, Recording, slots},
    support::Database,
    watch::Watch,
};
use callspool::adapters::embedded_postgres::EmbeddedOptions;
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
    pub cluster: Cluster,
    pub database: Database,
    /// Straight to the database.
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
        let options = EmbeddedOptions { fsync: true, stop_when_killed: true, max_connections: MAX_CONNECTIONS };
        let cluster = Cluster::start_with("chaos", options).await;
        let database = cluster.database("chaos").await;
        let provider = Provider::start(seed).await.unwrap();
        let disk = Disk::at(&folder.join("recordings"));
        let mut fleet = Fleet::new(folder, &database, &provider, &disk.folder);
        (0..MEMBERS).for_each(|place| fleet.start(place));
        let connect = PgConnectOptions::from_str(&database.url).unwrap().options([("search_path", "callspool")]);
        let connect = connect.application_name("chaos");
        let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(Duration::from_secs(2));
        let sql = pool.connect_lazy_with(connect);
        let urls: Vec<String> = fleet.members.iter().map(|member| member.url.clone()).collect();
        let caller = Caller::new(seed, provider.clone(), &urls, sql.clone(), database.url.clone());
        let watch = Watch::default();
        let mut world = Self {
            seed,
            fleet,
            cluster,
            database,
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
