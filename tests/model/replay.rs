//! Recordings of the real queue against the model, and recordings that were tampered with.

use crate::{
    behaviour::{Act, Behaviour, Expect, Refused},
    fleet::{self, Round},
    recorded::{self, Change, Transaction},
    support::Database,
};
use callspool_protocol::{
    Action, End, Scope, Step,
    state::{BUSINESSES, ENQUEUERS, Job, NOBODY, PROCESSES, UPKEEP, row},
};
use std::collections::BTreeSet;

/// As the store of the tests has it.
const MAX_ATTEMPTS: u8 = 3;

/// The acts of one round, process by process.
struct Translation {
    round: Round,
    /// By the numbers that the model gives them.
    jobs: Vec<i64>,
    behaviour: Behaviour,
}

pub fn translated(round: &Round) -> Behaviour {
    let jobs: BTreeSet<i64> = round
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.changes)
        .filter(|change| change.is("job", "INSERT"))
        .map(|change| change.number("job_id"))
        .collect();
    let scope = Scope {
        name: "recorded",
        claimers: 3,
        workers: 1,
        business_of: vec![0; jobs.len()],
        parcels: Vec::new(),
        max_slots: [1, 1],
        max_attempts: MAX_ATTEMPTS,
        retries: true,
        hands_back: true,
        operator: false,
        unseen: false,
        looks_ahead: false,
        mutant: None,
    };
    let behaviour = Behaviour { scope, chains: vec![Vec::new(); PROCESSES] };
    let mut translation = Translation { round: round.clone(), jobs: jobs.into_iter().collect(), behaviour };
    let transactions = round.transactions.clone();
    for (place, transaction) in transactions.iter().enumerate() {
        let next_commit = transactions.get(place + 1).map_or(i64::MAX, |next| next.commit);
        translation.add(transaction, next_commit);
    }
    translation.behaviour
}

impl Translation {
    fn add(&mut self, transaction: &Transaction, next_commit: i64) {
        let changes = &transaction.changes;
        let first = &changes[0];
        let mut rung = [0; BUSINESSES];
        for bell in changes.iter().filter(|change| change.is("doorbell", "INSERT")) {
            rung[business(bell)] += 1;
        }
        let process = if first.place == "fleet" {
            return self.tell(transaction, next_commit);
        } else if transaction.query.contains("enqueue") {
            self.enqueue(transaction)
        } else if transaction.query.contains("claim_work") {
            self.claim(&transaction.changes, transaction.commit)
        } else if transaction.query.contains("settle_attempts") {
            self.settle(changes)
        } else if transaction.query.contains("reap_leases") {
            self.reap(changes)
        } else if transaction.query.contains("promote") {
            self.promote(changes)
        } else {
            return;
        };
        self.end(process, Step::Commit, transaction.commit, next_commit, rung, Vec::new());
    }

    /// What a claimer does without a row.
    fn tell(&mut self, transaction: &Transaction, next_commit: i64) {
        let event = &transaction.changes[0];
        let process = usize::try_from(event.number("claimer")).unwrap();
        let (step, expect) = if event.op == "crash" {
            (Step::Crash, Vec::new())
        } else {
            let job = self.job(event);
            (Step::Report { jobs: 1 << job, end: End::Done }, vec![Expect::Refused { job }])
        };
        self.end(process, step, transaction.commit, next_commit, [0; BUSINESSES], expect);
    }

    fn enqueue(&mut self, transaction: &Transaction) -> usize {
        let mut parcel = 0;
        for change in transaction.changes.iter().filter(|change| change.is("job", "INSERT")) {
            let job = self.job(change);
            self.behaviour.scope.business_of[job] = business(change);
            parcel |= 1 << job;
        }
        let process = ENQUEUERS + self.behaviour.scope.parcels.len();
        self.behaviour.scope.parcels.push(parcel);
        self.act(process, Step::Enqueue, transaction.commit, vec![rang(&transaction.changes)]);
        process
    }

    fn claim(&mut self, changes: &[Change], commit: i64) -> usize {
        let process = self.round.claimers[changes[0].instance()];
        let (bells, rest) =
            changes.split_at(changes.iter().take_while(|change| change.is("doorbell", "DELETE")).count());
        let mut took = [0; BUSINESSES];
        for bell in bells {
            took[business(bell)] += 1;
        }
        let taken = set((0..BUSINESSES).filter(|b| took[*b] > 0));
        let (marks, visits) = rest.split_at(taken.count_ones() as usize);
        if let Some(bell) = bells.last() {
            self.act(process, Step::Drain { bells: taken, left: 0 }, bell.seq, Vec::new());
            self.behaviour.chains[process].last_mut().unwrap().bells = took;
            let mut marks: Vec<&Change> = marks.iter().collect();
            let written = marks.iter().map(|mark| mark.seq).max().unwrap();
            marks.sort_by_key(|mark| business(mark));
            for mark in marks {
                self.act(process, Step::LockNext, written, vec![wrote(mark)]);
            }
        }
        let mut is_full = false;
        for visit in visits.chunk_by(|_, next| next.place != "business") {
            let first = business(&visit[0]);
            let leases: Vec<&Change> = visit.iter().filter(|change| change.is("job_lease", "INSERT")).collect();
            let jobs = set(leases.iter().map(|lease| self.job(lease)));
            let mut moved = vec![wrote(&visit[0])];
            moved.extend(leases.iter().map(|lease| self.moved(lease, row::JOB | row::LEASE, process)));
            self.act(process, Step::Select { first }, visit[0].seq, vec![Expect::Chose(first)]);
            self.act(process, Step::Pick, visit[0].seq, vec![Expect::Picked(jobs)]);
            self.act(process, Step::Move, visit.last().unwrap().seq, moved);
            is_full = jobs != 0;
        }
        if !is_full {
            self.act(process, Step::PassOver, commit, Vec::new());
        }
        process
    }

    fn settle(&mut self, changes: &[Change]) -> usize {
        let lease = changes.iter().find(|change| change.is("job_lease", "DELETE")).unwrap();
        let process = self.round.claimers[lease.text("instance_id")];
        let (end, moved) = if let Some(back) = changes.iter().find(|change| change.is("job_ready", "INSERT")) {
            (End::HandBack, self.moved(back, row::JOB | row::READY, usize::from(NOBODY)))
        } else if let Some(later) = changes.iter().find(|change| change.is("job_scheduled", "INSERT")) {
            (End::Retry, self.moved(later, row::JOB | row::SCHEDULED, usize::from(NOBODY)))
        } else {
            (End::Done, self.moved(lease, row::DONE, usize::from(NOBODY)))
        };
        let step = Step::Report { jobs: 1 << self.job(lease), end };
        self.act(process, step, lease.seq, vec![moved]);
        self.lock_and_write(process, changes);
        process
    }

    fn reap(&mut self, changes: &[Change]) -> usize {
        let leases: Vec<&Change> = changes.iter().filter(|change| change.is("job_lease", "DELETE")).collect();
        let rows = |lease: &Change| {
            let is_back = |change: &Change| {
                change.is("job_ready", "INSERT") && change.number("job_id") == lease.number("job_id")
            };
            if changes.iter().any(is_back) { row::JOB | row::READY } else { row::LOST }
        };
        let expect = leases.iter().map(|lease| self.moved(lease, rows(lease), usize::from(NOBODY))).collect();
        let jobs = set(leases.iter().map(|lease| self.job(lease)));
        self.act(UPKEEP, Step::Reap { jobs }, leases[0].seq, expect);
        self.lock_and_write(UPKEEP, changes);
        UPKEEP
    }

    fn promote(&mut self, changes: &[Change]) -> usize {
        let due: Vec<&Change> = changes.iter().filter(|change| change.is("job_scheduled", "DELETE")).collect();
        let jobs = set(due.iter().map(|change| self.job(change)));
        self.act(UPKEEP, Step::Promote { jobs }, due[0].seq, vec![rang(changes)]);
        UPKEEP
    }

    fn lock_and_write(&mut self, process: usize, changes: &[Change]) {
        let mut written: Vec<&Change> = changes.iter().filter(|change| change.place == "business").collect();
        written.sort_by_key(|change| business(change));
        let at = written.iter().map(|change| change.seq).max().unwrap();
        for change in written {
            self.act(process, Step::LockNext, at, vec![wrote(change)]);
        }
    }

    fn act(&mut self, process: usize, step: Step, before: i64, expect: Vec<Expect>) {
        let last = self.behaviour.chains[process].last();
        let after = last.map_or(i64::MIN, |last| if last.is_commit { last.after } else { last.before });
        let action = Action { process, step };
        let act =
            Act { after: after.min(before - 1), before, is_commit: false, action, bells: [0; BUSINESSES], expect };
        self.behaviour.chains[process].push(act);
    }

    fn end(&mut self, process: usize, step: Step, after: i64, before: i64, bells: [i64; 2], expect: Vec<Expect>) {
        let action = Action { process, step };
        self.behaviour.chains[process].push(Act { after, before, is_commit: true, action, bells, expect });
    }

    fn job(&self, change: &Change) -> usize {
        let id = change.number("job_id");
        self.jobs.iter().position(|job| *job == id).unwrap()
    }

    fn moved(&self, change: &Change, rows: u8, holder: usize) -> Expect {
        let attempt = u8::try_from(change.number("attempt")).unwrap();
        let is = Job { rows, attempt, holder: u8::try_from(holder).unwrap() };
        Expect::Moved { job: self.job(change), is }
    }
}

fn business(change: &Change) -> usize {
    usize::try_from(change.number("business_id") - 1).unwrap()
}

fn wrote(change: &Change) -> Expect {
    let new = change.new.as_ref().unwrap();
    let running = u8::try_from(change.number("running")).unwrap();
    Expect::Wrote { business: business(change), running, has_more: new["has_more"].as_bool().unwrap() }
}

fn rang(changes: &[Change]) -> Expect {
    Expect::Rang(set(changes.iter().filter(|change| change.is("doorbell", "INSERT")).map(business)))
}

fn set(numbers: impl Iterator<Item = usize>) -> u8 {
    numbers.fold(0, |set, number| set | 1 << number)
}

/// The first act of this kind, to be tampered with.
fn act_where(behaviour: &mut Behaviour, is: impl Fn(&Act) -> bool) -> &mut Act {
    behaviour.chains.iter_mut().flatten().find(|act| is(act)).unwrap()
}

/// At least so many; more until each kind of step was there, since what is rare does not come in every round.
const ROUNDS: usize = 15;
const MOST_ROUNDS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_database_does_is_something_that_the_model_can_do() {
    let database = Database::migrated().await;
    recorded::begin(&database).await;
    let mut kinds = BTreeSet::new();
    let expected = [
        "Commit", "Crash", "Drain", "Enqueue", "LockNext", "Move", "PassOver", "Pick", "Promote", "Reap", "Report",
        "Select",
    ];
    for number in 0..MOST_ROUNDS {
        if number >= ROUNDS && kinds.len() == expected.len() {
            break;
        }
        let behaviour = translated(&fleet::round(&database).await);
        let steps = behaviour.is_of_the_model();
        if let Err(Refused { steps, next }) = steps {
            panic!("round {number}: after {steps} steps the model can do none of {next:#?}\n{behaviour:#?}");
        }
        let name = |act: &Act| format!("{:?}", act.action.step).split(' ').next().unwrap().to_owned();
        kinds.extend(behaviour.chains.iter().flatten().map(name));
    }
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// A recording with one thing changed, which must not be taken for the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recording_that_was_tampered_with_is_refused() {
    let database = Database::migrated().await;
    recorded::begin(&database).await;
    let true_one = translated(&fleet::round(&database).await);
    true_one.is_of_the_model().unwrap();
    let refuses = |what: &str, change: &dyn Fn(&mut Behaviour)| {
        let mut changed = true_one.clone();
        change(&mut changed);
        assert!(changed.is_of_the_model().is_err(), "{what}");
    };
    refuses("a claim that took another job", &|behaviour| {
        let pick = act_where(behaviour, |act| matches!(act.expect[..], [Expect::Picked(jobs)] if jobs != 0));
        pick.expect = vec![Expect::Picked(0)];
    });
    refuses("a mark that was not written", &|behaviour| {
        let lock = act_where(behaviour, |act| matches!(act.expect[..], [Expect::Wrote { has_more: true, .. }]));
        let Expect::Wrote { has_more, .. } = &mut lock.expect[0] else { unreachable!() };
        *has_more = false;
    });
    refuses("a slot that was not freed", &|behaviour| {
        let is_report = |act: &Act| matches!(act.action.step, Step::Report { .. }) && !act.is_commit;
        let chain = behaviour.chains.iter_mut().find(|chain| chain.iter().any(is_report)).unwrap();
        let report = chain.iter().position(is_report).unwrap();
        let Expect::Wrote { running, .. } = &mut chain[report + 1].expect[0] else { unreachable!() };
        *running += 1;
    });
    refuses("a job that is done by somebody who did not hold it", &|behaviour| {
        let is_done = |act: &Act| matches!(act.action.step, Step::Report { end: End::Done, .. }) && !act.is_commit;
        let done = act_where(behaviour, is_done);
        done.action.process = (done.action.process + 1) % 3;
    });
    refuses("a transaction that was never there", &|behaviour| {
        let enqueues = behaviour.chains.iter_mut().rev().find(|chain| !chain.is_empty());
        enqueues.unwrap().clear();
    });
    refuses("a commit before what it was made of", &|behaviour| {
        let claims =
            behaviour.chains.iter_mut().find(|chain| chain.iter().any(|act| act.action.step == Step::Pick));
        let chain = claims.unwrap();
        let pick = chain.iter().position(|act| act.action.step == Step::Pick).unwrap();
        chain.swap(pick, pick + 1);
    });
    refuses("a bell that was read twice", &|behaviour| {
        act_where(behaviour, |act| matches!(act.action.step, Step::Drain { .. })).bells = [9, 9];
    });
}
