//! Jobs as an operator lists them: pages by key, whatever the filter.

use crate::{
    queue_law::{Claimer, dead, done, retry},
    support::{Database, business, new_job},
};
use callspool::domain::{
    ids::JobId,
    job::{JobFilter, JobState, JobView},
    ports::JobBook,
};
use std::{collections::BTreeSet, time::Duration};

/// Three businesses with jobs in every state that there is so far.
async fn fleet(database: &Database) -> Claimer {
    let mut claimer = Claimer::new(database).await;
    let batch: Vec<_> = (0..45).map(|n| new_job(i64::from(n % 3) + 1, n)).collect();
    claimer.store.enqueue(&batch).await.unwrap();
    let jobs = claimer.claim(15).await;
    for (place, job) in jobs.iter().enumerate() {
        match place % 5 {
            0 => assert!(claimer.settle(job, done(job)).await),
            1 => assert!(claimer.settle(job, dead()).await),
            2 => assert!(claimer.settle(job, retry(Duration::from_hours(1))).await),
            _ => {}
        }
    }
    claimer
}

/// All jobs that fit, page by page.
async fn all(claimer: &Claimer, filter: &JobFilter, limit: u16) -> Vec<JobView> {
    let mut found: Vec<JobView> = Vec::new();
    loop {
        let after = found.last().map(|job| job.id).or(filter.after);
        let page = claimer.store.jobs(&JobFilter { after, limit, ..filter.clone() }).await.unwrap();
        assert!(page.len() <= usize::from(limit));
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_size_list_each_job_once_newest_first() {
    let database = Database::migrated().await;
    let claimer = fleet(&database).await;
    let whole = all(&claimer, &JobFilter::default(), 1_000).await;
    assert_eq!(whole.len(), 45);
    assert!(whole.is_sorted_by(|a, b| a.id > b.id));
    for limit in [1, 7, 44, 45, 46] {
        assert_eq!(all(&claimer, &JobFilter::default(), limit).await, whole);
    }
    let from = JobFilter { after: Some(whole[9].id), ..JobFilter::default() };
    assert_eq!(all(&claimer, &from, 10).await, whole[10..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_lists_exactly_the_jobs_that_fit() {
    let database = Database::migrated().await;
    let claimer = fleet(&database).await;
    let whole = all(&claimer, &JobFilter::default(), 1_000).await;
    let states: BTreeSet<&str> = whole.iter().map(|job| job.state.as_str()).collect();
    assert_eq!(states.into_iter().collect::<Vec<_>>(), ["dead", "done", "ready", "running", "scheduled"]);
    for state in JobState::ALL.map(Some).into_iter().chain([None]) {
        for business_id in [None, Some(business(1)), Some(business(3)), Some(business(9))] {
            for call in [None, Some(whole[3].call_sid.clone()), Some(whole[40].call_sid.clone())] {
                let filter = JobFilter { state, business_id, call_sid: call.clone(), ..JobFilter::default() };
                let fits = |job: &&JobView| {
                    state.is_none_or(|state| job.state == state)
                        && business_id.is_none_or(|id| job.business_id == id)
                        && call.as_ref().is_none_or(|call| job.call_sid == *call)
                };
                let expected: Vec<JobView> = whole.iter().filter(fits).cloned().collect();
                assert_eq!(all(&claimer, &filter, 4).await, expected, "{filter:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_there_is_none() {
    let database = Database::migrated().await;
    assert_eq!(database.store().job(JobId(77)).await.unwrap(), None);
}
