//! The queue against a model of it in memory: any sequence of operations leaves both in the same state, with the same
//! answers, and the law holds after each.

use crate::{
    queue_law::{Claimer, DEFAULT_SLOTS, advanced, dead, done, not_ready, retry, violations, wait},
    support::{Database, business, new_job},
};
use callspool::domain::{
    ids::JobId,
    job::{ClaimedJob, Disposition, JobState, NewJob, Priority},
    ports::{JobBook, Upkeep},
    slots::{RingPlace, turn},
};
use chrono::{TimeDelta, Utc};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

const MAX_ATTEMPTS: u16 = 3;
const TTL: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);

/// One thing that may happen. Places count round: 7 of 3 running jobs is the second.
#[derive(Debug, Clone)]
enum Step {
    Enqueue(Vec<(i64, u32, i16, bool)>),
    Claim {
        instance: usize,
        workers: u16,
        quantum: u16,
    },
    Settle {
        place: usize,
        end: End,
    },
    /// A result of a lease that is over.
    SettleLate {
        place: usize,
        end: End,
    },
    /// An instance falls silent, is taken for dead, and beats again.
    Reap {
        instance: usize,
    },
    Promote,
    /// The storage fails from now on, or works again.
    Hold(bool),
    Set {
        business: i64,
        max_slots: i32,
        weight: i16,
        paused: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    RetryNow,
    RetryLater,
    Dead,
    HandBack,
    NotReady,
    /// Parked for the storage's hold, whether that still stands or not.
    Wait,
    /// Its first step is done, its file is stored.
    Advanced,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Done),
        2 => Just(End::RetryNow),
        1 => Just(End::RetryLater),
        1 => Just(End::Dead),
        1 => Just(End::HandBack),
        1 => Just(End::NotReady),
        2 => Just(End::Wait),
        1 => Just(End::Advanced)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let job = (1..5_i64, 0..12_u32, 3..6_i16, prop::bool::weighted(0.2));
    prop_oneof![
        4 => prop::collection::vec(job, 1..6).prop_map(Step::Enqueue),
        5 => (0..2_usize, 1..7_u16, 1..3_u16)
            .prop_map(|(instance, workers, quantum)| Step::Claim { instance, workers, quantum }),
        6 => (any::<usize>(), end()).prop_map(|(place, end)| Step::Settle { place, end }),
        1 => (any::<usize>(), end()).prop_map(|(place, end)| Step::SettleLate { place, end }),
        1 => (0..2_usize).prop_map(|instance| Step::Reap { instance }),
        2 => Just(Step::Promote),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => (1..5_i64, 0..6_i32, 1..4_i16, prop::bool::weighted(0.3))
            .prop_map(|(business, max_slots, weight, paused)| Step::Set { business, max_slots, weight, paused }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Scheduled { due: bool },
    Parked,
    Running { instance: usize },
}

#[derive(Debug, Clone)]
struct Job {
    recording: (i64, u32),
    priority: i16,
    place: Place,
    attempt: u16,
}

#[derive(Debug, Clone, Copy)]
struct Business {
    max_slots: i32,
    weight: i16,
    paused: bool,
}

impl Default for Business {
    fn default() -> Self {
        Self { max_slots: DEFAULT_SLOTS, weight: 1, paused: false }
    }
}

#[derive(Debug, Default)]
struct Model {
    businesses: BTreeMap<i64, Business>,
    live: BTreeMap<JobId, Job>,
    finished: BTreeMap<JobId, (JobState, u16)>,
    /// The job that stored a recording.
    stored: HashMap<(i64, u32), JobId>,
    /// A hold stands.
    held: bool,
}

impl Model {
    fn running(&self, business: i64) -> i32 {
        let runs = |job: &&Job| job.recording.0 == business && matches!(job.place, Place::Running { .. });
        i32::try_from(self.live.values().filter(runs).count()).unwrap()
    }

    /// The ready jobs of a business, first to run first.
    fn ready(&self, business: i64) -> Vec<JobId> {
        let ready = |(_, job): &(&JobId, &Job)| job.recording.0 == business && job.place == Place::Ready;
        let mut jobs: Vec<_> = self.live.iter().filter(ready).map(|(id, job)| (job.priority, *id)).collect();
        jobs.sort_unstable();
        jobs.into_iter().map(|(_, id)| id).collect()
    }

    /// The rule of the ring in words of its own; answers the jobs and where the next claim begins.
    fn claim(&mut self, instance: usize, workers: usize, quantum: u16, from: RingPlace) -> (Vec<JobId>, RingPlace) {
        let (mut jobs, mut place) = (Vec::new(), from);
        while jobs.len() < workers {
            let room = workers - jobs.len();
            let known: BTreeSet<i64> = self.live.values().map(|job| job.recording.0).collect();
            let begin = place.after - i64::from(place.turn_left > 0);
            let runnable: Vec<(i64, Business)> = known
                .range(begin + 1..)
                .chain(known.range(..=begin))
                .map(|id| (*id, self.businesses.get(id).copied().unwrap_or_default()))
                .filter(|(id, b)| !b.paused && self.running(*id) < b.max_slots && !self.ready(*id).is_empty())
                .take(room)
                .collect();
            if runnable.is_empty() {
                break;
            }
            let one_sweep: usize =
                runnable.iter().map(|(_, b)| usize::from(quantum) * usize::try_from(b.weight).unwrap()).sum();
            let sweeps = u16::try_from((room / one_sweep).max(1)).unwrap();
            let (mut left, from) = (room, place);
            for (id, b) in runnable {
                let weight = u16::try_from(b.weight).unwrap();
                let due = if id == from.after && from.turn_left > 0 {
                    u16::try_from(from.turn_left).unwrap()
                } else {
                    quantum * weight * sweeps
                };
                let wish = turn(due, 1, b.max_slots, self.running(id)) as usize;
                let take = wish.min(left);
                left -= take;
                if take > 0 {
                    let unfinished = if take < wish { usize::from(due) - take } else { 0 };
                    place = RingPlace { after: id, turn_left: i32::try_from(unfinished).unwrap() };
                }
                for job in self.ready(id).into_iter().take(take) {
                    let entry = self.live.get_mut(&job).unwrap();
                    entry.place = Place::Running { instance };
                    entry.attempt += 1;
                    jobs.push(job);
                }
            }
        }
        (jobs, place)
    }

    fn end(&mut self, id: JobId, end: End) {
        let job = self.live.get_mut(&id).unwrap();
        match end {
            End::Done | End::Dead => {
                let job = self.live.remove(&id).unwrap();
                let state = if matches!(end, End::Done) { JobState::Done } else { JobState::Dead };
                if state == JobState::Done {
                    self.stored.insert(job.recording, id);
                }
                self.finished.insert(id, (state, job.attempt));
            }
            End::RetryNow => job.place = Place::Scheduled { due: true },
            End::RetryLater => job.place = Place::Scheduled { due: false },
            End::HandBack => (job.place, job.attempt) = (Place::Ready, job.attempt - 1),
            End::NotReady => (job.place, job.attempt) = (Place::Scheduled { due: true }, job.attempt - 1),
            End::Wait => (job.place, job.attempt) = (Place::Parked, job.attempt - 1),
            End::Advanced => {
                (job.place, job.attempt) = (Place::Ready, 0);
                self.stored.insert(job.recording, id);
            }
        }
    }

    /// What an operator sees: every job with its state and attempt.
    fn states(&self) -> BTreeMap<JobId, (JobState, u16)> {
        let state = |job: &Job| match job.place {
            Place::Ready => JobState::Ready,
            Place::Scheduled { .. } | Place::Parked => JobState::Scheduled,
            Place::Running { .. } => JobState::Running,
        };
        let live = self.live.iter().map(|(id, job)| (*id, (state(job), job.attempt)));
        live.chain(self.finished.iter().map(|(id, end)| (*id, *end))).collect()
    }
}

/// The real queue and the model of it, side by side.
struct Pair {
    connection: PgConnection,
    instances: [Claimer; 2],
    model: Model,
    /// Jobs whose lease is held, as they were claimed; and those whose lease is over.
    held: Vec<ClaimedJob>,
    over: Vec<ClaimedJob>,
}

impl Pair {
    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enqueue(jobs) => self.enqueue(jobs).await?,
            Step::Claim { instance, workers, quantum } => {
                let claimer = &mut self.instances[instance];
                claimer.quantum = quantum;
                let expected = self.model.claim(instance, usize::from(workers), quantum, claimer.place);
                let jobs = claimer.claim(workers).await;
                let sorted = |ids: Vec<JobId>| ids.into_iter().collect::<BTreeSet<_>>();
                let real = jobs.iter().map(|job| job.id).collect();
                prop_assert_eq!((sorted(real), claimer.place), (sorted(expected.0), expected.1));
                for job in &jobs {
                    prop_assert_eq!(job.attempt, self.model.live[&job.id].attempt);
                    prop_assert!(job.running <= job.max_slots, "{job:?}");
                }
                self.held.extend(jobs);
            }
            Step::Settle { place, end } if !self.held.is_empty() => {
                let job = self.held.swap_remove(place % self.held.len());
                prop_assert!(self.settle(&job, end).await);
                self.model.end(job.id, end);
                self.over.push(job);
            }
            Step::SettleLate { place, end } if !self.over.is_empty() => {
                let job = self.over[place % self.over.len()].clone();
                prop_assert!(!self.settle(&job, end).await, "a lease that is over was believed");
            }
            Step::Settle { .. } | Step::SettleLate { .. } => {}
            Step::Reap { instance } => self.reap(instance).await?,
            Step::Promote => {
                let held = self.model.held;
                let due = |job: &&mut Job| match job.place {
                    Place::Scheduled { due } => due,
                    Place::Parked => !held,
                    _ => false,
                };
                let due: Vec<&mut Job> = self.model.live.values_mut().filter(due).collect();
                let promoted = self.instances[0].store.promote(1_000).await.unwrap();
                prop_assert_eq!(promoted.count as usize, due.len());
                for job in due {
                    job.place = Place::Ready;
                }
                let scheduled = |job: &Job| matches!(job.place, Place::Scheduled { .. } | Place::Parked);
                let waits = self.model.live.values().any(scheduled);
                prop_assert_eq!(promoted.next_due_in.is_some(), waits);
            }
            Step::Hold(begins) => {
                let sql = if begins {
                    "insert into hold (hold_key, kind, message) values ('storage', 'storage', 'full') on conflict do nothing"
                } else {
                    "delete from hold"
                };
                self.connection.execute(sql).await.unwrap();
                self.model.held = begins;
            }
            Step::Set { business, max_slots, weight, paused } => {
                let sql = format!(
                    "insert into business (business_id, max_slots, weight, paused) values ({business}, {max_slots}, {weight}, {paused})
                     on conflict (business_id) do update set max_slots = {max_slots}, weight = {weight}, paused = {paused}"
                );
                self.connection.execute(AssertSqlSafe(sql)).await.unwrap();
                self.model.businesses.insert(business, Business { max_slots, weight, paused });
            }
        }
        self.compare().await
    }

    async fn enqueue(&mut self, jobs: Vec<(i64, u32, i16, bool)>) -> Result<(), TestCaseError> {
        let later = Utc::now() + TimeDelta::from_std(HOUR).unwrap();
        let batch: Vec<NewJob> = jobs
            .iter()
            .map(|&(id, number, priority, scheduled)| NewJob {
                business_id: business(id),
                priority: Priority::try_from(priority).unwrap(),
                run_at: scheduled.then_some(later),
                ..new_job(id, number)
            })
            .collect();
        let answers = self.instances[0].store.enqueue(&batch).await.unwrap();
        prop_assert_eq!(answers.len(), jobs.len());
        for ((id, number, priority, scheduled), answer) in jobs.into_iter().zip(answers) {
            let recording = (id, number);
            let known = self.model.live.iter().find(|(_, job)| job.recording == recording).map(|(id, _)| *id);
            let known = known.or_else(|| self.model.stored.get(&recording).copied());
            prop_assert_eq!((answer.deduplicated, known.unwrap_or(answer.id)), (known.is_some(), answer.id));
            if known.is_none() {
                let place = if scheduled { Place::Scheduled { due: false } } else { Place::Ready };
                self.model.live.insert(answer.id, Job { recording, priority, place, attempt: 0 });
            }
            prop_assert_eq!(answer.state, self.model.states()[&answer.id].0);
        }
        Ok(())
    }

    async fn settle(&self, job: &ClaimedJob, end: End) -> bool {
        let disposition = match end {
            End::Done => done(job),
            End::RetryNow => retry(Duration::ZERO),
            End::RetryLater => retry(HOUR),
            End::Dead => dead(),
            End::HandBack => Disposition::HandBack,
            End::NotReady => not_ready(Duration::ZERO),
            End::Wait => wait(),
            End::Advanced => advanced(job),
        };
        self.instances[0].settle(job, disposition).await
    }

    async fn reap(&mut self, instance: usize) -> Result<(), TestCaseError> {
        let silent = self.instances[instance].instance;
        let age = format!("update instance set beat_at = now() - interval '1 min' where instance_id = '{silent}'");
        self.connection.execute(AssertSqlSafe(age)).await.unwrap();
        let reaped = self.instances[0].store.reap(TTL, 1_000).await.unwrap();
        self.instances[instance].beat().await;
        let held = |(_, job): &(&JobId, &mut Job)| job.place == Place::Running { instance };
        let mut expected = BTreeMap::new();
        for (id, job) in self.model.live.iter_mut().filter(held) {
            job.place = Place::Ready;
            expected.insert(*id, job.attempt >= MAX_ATTEMPTS);
        }
        let real = reaped.iter().map(|r| (r.job, matches!(r.disposition, Disposition::Dead { .. }))).collect();
        prop_assert_eq!(&expected, &real);
        for (id, _) in expected.iter().filter(|(_, is_dead)| **is_dead) {
            self.model.end(*id, End::Dead);
        }
        self.over.extend(self.held.extract_if(.., |job| expected.contains_key(&job.id)));
        Ok(())
    }

    async fn compare(&mut self) -> Result<(), TestCaseError> {
        let rows: Vec<(i64, String, i16)> = sqlx::query_as("select job_id, state, attempt from job_view")
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        let seen = |(id, state, attempt): (i64, String, i16)| {
            (JobId(id), (state.parse::<JobState>().unwrap(), u16::try_from(attempt).unwrap()))
        };
        let real: BTreeMap<_, _> = rows.into_iter().map(seen).collect();
        prop_assert_eq!(real, self.model.states());
        prop_assert_eq!(violations(&mut self.connection).await, Vec::<String>::new());
        Ok(())
    }
}

#[test]
fn any_sequence_of_steps_leaves_the_queue_and_its_model_in_one_state() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::migrated());
    let config = Config { cases: 100, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    // The smallest sequence that fails is printed: it is the whole of what is needed to see it again.
    let checked = TestRunner::new(config).run(&prop::collection::vec(step(), 1..40), |steps| {
        runtime.block_on(async {
            let mut connection = database.connect().await;
            let empty =
                "truncate business, job, job_ready, job_scheduled, job_lease, doorbell, instance, job_history,
                                  job_attempt, recordings, hold";
            connection.execute(empty).await.unwrap();
            let instances = [Claimer::new(&database).await, Claimer::new(&database).await];
            let mut pair =
                Pair { connection, instances, model: Model::default(), held: Vec::new(), over: Vec::new() };
            for (number, step) in steps.into_iter().enumerate() {
                let said = format!("step {number}: {step:?}");
                pair.step(step).await.map_err(|error| TestCaseError::fail(format!("{said}: {error}")))?;
            }
            Ok(())
        })
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}
