//! What the tests of the queue share: a claimer, and the law that must hold whatever happens.

use crate::support::Database;
use callspool::{
    domain::{
        failure::{Failure, FailureCode},
        hold::HoldKey,
        ids::{InstanceId, JobId},
        job::{Achieved, ClaimedJob, Disposition, Settlement, StoredRecording},
        layout::Layout,
        lease::{LeaseId, WorkerLife},
        media::Form,
        ports::{ClaimRequest, Claimed, Dispatch, InstanceInfo},
        slots::RingPlace,
    },
    store::Store,
};
use sqlx::{Connection, PgConnection};
use std::time::Duration;

/// Slots of a business that the tests name none for.
pub const DEFAULT_SLOTS: i32 = 5;

/// One instance of the fleet, as its slot manager is: it beats, claims and settles.
#[derive(Debug, Clone)]
pub struct Claimer {
    pub store: Store,
    pub instance: InstanceId,
    pub place: RingPlace,
    pub quantum: u16,
    pub lease_for: Duration,
}

impl Claimer {
    /// One that has beaten once, and begins at the ring's beginning.
    pub async fn new(database: &Database) -> Self {
        let instance = InstanceId::generate();
        let store = database.store_with(|config| config.instance = instance);
        let lease_for = Duration::from_mins(15);
        let claimer = Self { store, instance, place: RingPlace::default(), quantum: 1, lease_for };
        claimer.beat().await;
        claimer
    }

    pub async fn beat(&self) {
        let info = InstanceInfo {
            instance: self.instance,
            host: "here".to_owned(),
            pid: 1,
            roles: vec!["worker".to_owned()],
            version: "1".to_owned(),
            workers: 16,
            draining: false,
            actors: Vec::new(),
        };
        self.store.beat(&info).await.unwrap();
    }

    /// Claims for `workers` free workers.
    pub async fn claim(&mut self, workers: u16) -> Vec<ClaimedJob> {
        self.claim_all(workers).await.jobs.into_iter().map(|(_, job)| job).collect()
    }

    pub async fn claim_all(&mut self, workers: u16) -> Claimed {
        let request = ClaimRequest {
            instance: self.instance,
            workers: (0..workers).map(|worker| WorkerLife { worker, generation: 1 }).collect(),
            place: self.place,
            quantum: self.quantum,
            lease_for: self.lease_for,
            drain_limit: 2_000,
            default_max_slots: DEFAULT_SLOTS,
        };
        let claimed = self.store.claim(&request).await.unwrap();
        self.place = claimed.place;
        claimed
    }

    /// Ends an attempt; whether its lease was still held.
    pub async fn settle(&self, job: &ClaimedJob, disposition: Disposition) -> bool {
        self.settle_all([(job, disposition)]).await == [job.lease]
    }

    pub async fn settle_all(&self, ends: impl IntoIterator<Item = (&ClaimedJob, Disposition)>) -> Vec<LeaseId> {
        let settlement = |(job, disposition): (&ClaimedJob, Disposition)| Settlement {
            job: job.id,
            lease: job.lease,
            disposition,
        };
        let settlements: Vec<Settlement> = ends.into_iter().map(settlement).collect();
        self.store.settle(&settlements).await.unwrap().into_iter().map(|settled| settled.lease).collect()
    }
}

/// The businesses that these jobs are of, in the order of the claim.
pub fn businesses(jobs: &[ClaimedJob]) -> Vec<i64> {
    jobs.iter().map(|job| job.business_id.get()).collect()
}

pub fn ids(jobs: &[ClaimedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Where a job's file goes, without its date.
pub fn key(job: &ClaimedJob) -> String {
    "{business_id}/{call_sid}.{ext}".parse::<Layout>().unwrap().key(job, "mp3")
}

pub fn done(job: &ClaimedJob) -> Disposition {
    Disposition::Achieved(Achieved::Stored(StoredRecording {
        storage_key: key(job),
        bytes: 1,
        sha256: [7; 32],
        content_type: "audio/mpeg",
        duration_ms: Some(1_000),
        form: Form::Mp3,
    }))
}

/// The first step of a job of two is done.
pub fn advanced(job: &ClaimedJob) -> Disposition {
    match done(job) {
        Disposition::Achieved(Achieved::Stored(stored)) => Disposition::Achieved(Achieved::Advanced(stored)),
        other => other,
    }
}

/// Parked for the storage.
pub fn wait() -> Disposition {
    Disposition::Wait { hold: HoldKey::storage(), failure: failure() }
}

pub fn not_ready(delay: Duration) -> Disposition {
    Disposition::NotReady { delay, failure: Failure::new(FailureCode::NotReady, "the provider answered 404") }
}

pub fn retry(delay: Duration) -> Disposition {
    Disposition::Retry { delay, failure: failure() }
}

pub fn dead() -> Disposition {
    Disposition::Dead { failure: failure() }
}

pub fn failure() -> Failure {
    Failure::new(FailureCode::HttpStatus, "the provider answered 500")
}

/// Whatever breaks the law of conservation, in words. One statement, so all of it is one moment.
const LAW: &str = "
    with placed as (
        select job_id, business_id, 'ready' as place from job_ready
        union all select job_id, business_id, 'scheduled' from job_scheduled
        union all select job_id, business_id, 'running' from job_lease
    ), bells as (
        select business_id, sum(ready_delta) as ready, sum(scheduled_delta) as scheduled from doorbell group by business_id
    ), counted as (
        select business_id, count(*) filter (where place = 'ready') as ready,
               count(*) filter (where place = 'scheduled') as scheduled,
               count(*) filter (where place = 'running') as running
          from placed group by business_id
    ), finished as (
        select business_id, count(*) filter (where state = 'done') as done,
               count(*) filter (where state = 'dead') as dead,
               count(*) filter (where state = 'cancelled') as cancelled
          from job_history group by business_id
    )
    select format('job %s is in %s places: %s', coalesce(j.job_id, p.job_id), count(p.place),
                  string_agg(p.place, ' ') || case when j.job_id is null then ' but not in job' else '' end)
      from job j full join placed p on p.job_id = j.job_id
     group by j.job_id, p.job_id having count(p.place) <> 1 or j.job_id is null
    union all
    select format('job %s has ended %s times and is %s', h.job_id, count(*), string_agg(coalesce(p.place, 'away'), ' '))
      from job_history h left join placed p on p.job_id = h.job_id
     group by h.job_id having count(*) > 1 or count(p.place) > 0
    union all
    select format('business %s counts %s and has %s', business_id, kept, there)
      from (select business_id,
                   (coalesce(b.ready, 0) + coalesce(d.ready, 0), coalesce(b.scheduled, 0) + coalesce(d.scheduled, 0),
                    coalesce(b.running, 0), coalesce(b.done, 0), coalesce(b.dead, 0), coalesce(b.cancelled, 0))::text as kept,
                   (coalesce(c.ready, 0), coalesce(c.scheduled, 0), coalesce(c.running, 0), coalesce(f.done, 0),
                    coalesce(f.dead, 0), coalesce(f.cancelled, 0))::text as there
              from business b full join bells d using (business_id) full join counted c using (business_id)
              full join finished f using (business_id)) sums
     where kept <> there
    union all
    select format('business %s has ready jobs, and neither a mark nor a bell', c.business_id)
      from counted c left join business b using (business_id)
     where c.ready > 0 and b.has_more is not true
       and not exists (select 1 from bells d where d.business_id = c.business_id)";

/// Everything that breaks the law just now.
pub async fn violations(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(LAW).fetch_all(connection).await.unwrap()
}

/// The law holds: each job is in one place, counters are what is counted, and nobody waits without a mark or a bell.
pub async fn assert_law(database: &Database) {
    let mut connection = database.connect().await;
    assert_eq!(violations(&mut connection).await, Vec::<String>::new());
    connection.close().await.unwrap();
}

/// Runs one statement without an answer.
pub async fn execute(database: &Database, sql: &'static str) {
    let mut connection = database.connect().await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// `(running, max_slots)` of a business.
pub async fn slots(database: &Database, business_id: i64) -> (i32, i32) {
    let mut connection = database.connect().await;
    sqlx::query_as("select running, max_slots from business where business_id = $1")
        .bind(business_id)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// `(jobs that were enqueued and are not undone, those of them that are over)`.
pub async fn totals(database: &Database) -> (i64, i64) {
    let mut connection = database.connect().await;
    let count = "select (select count(*) from job) + (select count(*) from job_history), (select count(*) from job_history)";
    sqlx::query_as(count).fetch_one(&mut connection).await.unwrap()
}
