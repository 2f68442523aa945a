//! The database and the processes at one moment.
//!
//! A row that an open transaction has written is there twice: as it is committed, which everybody reads, and as it will
//! be, which its writer reads. Whoever has written or locked a row keeps others from it until the end of its transaction.

use std::hash::{Hash, Hasher};

/// Numbers from 0 to 7.
pub type Set = u8;

pub const BUSINESSES: usize = 2;
pub const CLAIMERS: usize = 3;
pub const JOBS: usize = 4;
/// Reaps and promotes.
pub const UPKEEP: usize = CLAIMERS;
pub const OPERATOR: usize = UPKEEP + 1;
/// The first of those who enqueue, a transaction each.
pub const ENQUEUERS: usize = OPERATOR + 1;
pub const PROCESSES: usize = ENQUEUERS + JOBS;
pub const NOBODY: u8 = u8::MAX;

/// Rows of one job, as bits of [`Job::rows`].
pub mod row {
    pub const JOB: u8 = 1;
    pub const READY: u8 = 2;
    pub const SCHEDULED: u8 = 4;
    pub const LEASE: u8 = 8;
    /// It is in the history as done.
    pub const DONE: u8 = 16;
    /// It is in the history as dead or cancelled.
    pub const LOST: u8 = 32;
    /// It is in the history twice.
    pub const TWICE: u8 = 64;
    /// Its lease says `cancel_requested`.
    pub const STOP: u8 = 128;
    pub const LIVE: u8 = READY | SCHEDULED | LEASE;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Job {
    pub rows: u8,
    pub attempt: u8,
    /// The claimer who knows of the lease; [`NOBODY`] where it died, or never learned of it.
    pub holder: u8,
}

impl Job {
    pub fn has(self, rows: u8) -> bool {
        self.rows & rows != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Business {
    pub running: u8,
    pub has_more: bool,
}

/// A row, committed and as its writer has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<T> {
    pub now: T,
    pub next: T,
    pub owner: u8,
}

impl<T: Copy + Default> Row<T> {
    pub fn new(now: T) -> Self {
        Self { now, next: T::default(), owner: NOBODY }
    }

    /// As this process reads it.
    pub fn seen_by(&self, process: usize) -> T {
        if self.is_of(process) { self.next } else { self.now }
    }

    pub fn is_of(&self, process: usize) -> bool {
        usize::from(self.owner) == process
    }

    pub fn is_free_for(&self, process: usize) -> bool {
        self.owner == NOBODY || self.is_of(process)
    }

    /// The caller has made sure that it is free.
    pub fn lock(&mut self, process: usize) -> &mut T {
        if self.owner == NOBODY {
            self.next = self.now;
            self.owner = u8::try_from(process).unwrap_or(NOBODY);
        }
        &mut self.next
    }

    fn end(&mut self, is_committed: bool) {
        if is_committed {
            self.now = self.next;
        }
        *self = Self::new(self.now);
    }
}

/// Where a process is in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum At {
    /// Outside.
    #[default]
    Idle,
    /// It has bells, and takes the locks of their businesses.
    Drain,
    /// Only where the claim is one statement: before its snapshot.
    Snapshot,
    /// It has drained, and chooses businesses.
    Select,
    /// It has businesses, and takes ready jobs.
    Pick,
    /// It has jobs, and moves them.
    Move,
    /// It reports the next of several jobs.
    Report,
    /// It has jobs, and takes the locks of their businesses.
    Lock,
    /// It takes the lock of a business before it cancels a job.
    CancelLock,
    /// It has that lock.
    Cancel,
    /// All is written.
    Commit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    pub at: At,
    /// Bells that it has deleted.
    pub took: Set,
    /// Bells that it has inserted.
    pub rang: Set,
    /// Businesses whose locks it still wants.
    pub wants: Set,
    /// Businesses that this claim is about, and how many jobs of each.
    pub chosen: Set,
    pub takes: [u8; BUSINESSES],
    /// Jobs: taken by this claim, still to be reported, or to be cancelled.
    pub jobs: Set,
    /// Jobs that it works on, so far as it knows.
    pub held: Set,
    /// Jobs that it works on although their leases are over, with the attempt's number where a mutant asks for it.
    pub late: [u8; JOBS],
}

impl Process {
    pub fn is_late(&self, job: usize) -> bool {
        self.late[job] != 0
    }

    /// All that is left of it outside a transaction.
    fn between(self) -> Self {
        Self { held: self.held, late: self.late, ..Self::default() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub jobs: [Row<Job>; JOBS],
    pub businesses: [Row<Business>; BUSINESSES],
    /// Businesses with bells that are committed and not locked. How many bells is all one: whoever takes one takes all.
    pub bells: Set,
    pub processes: [Process; PROCESSES],
}

impl State {
    pub fn new() -> Self {
        Self {
            jobs: [Row::new(Job { holder: NOBODY, ..Job::default() }); JOBS],
            businesses: [Row::new(Business::default()); BUSINESSES],
            bells: 0,
            processes: [Process::default(); PROCESSES],
        }
    }

    /// Jobs for which something holds.
    pub fn which(&self, holds: impl Fn(&Row<Job>) -> bool) -> Set {
        self.jobs.iter().enumerate().filter(|(_, job)| holds(job)).fold(0, |set, (number, _)| set | 1 << number)
    }

    /// Businesses with bells as everybody reads it: what an open transaction has deleted is still there.
    pub fn committed_bells(&self) -> Set {
        self.processes.iter().fold(self.bells, |bells, process| bells | process.took)
    }

    /// Ends a transaction. Where a reaper takes leases from a claimer, that one does not learn of it.
    pub fn commit(&mut self, process: usize, keeps_attempts: bool) {
        for number in 0..JOBS {
            let job = self.jobs[number];
            if !job.is_of(process) {
                continue;
            }
            let (was, is) = (job.now, job.next);
            let is_end = was.has(row::LEASE) && !is.has(row::LEASE);
            let holder = usize::from(was.holder);
            if is_end && holder == process {
                self.processes[holder].held &= !(1 << number);
            } else if is_end && process == UPKEEP && holder < CLAIMERS {
                self.processes[holder].held &= !(1 << number);
                self.processes[holder].late[number] = if keeps_attempts { was.attempt } else { 1 };
            }
            if !was.has(row::LEASE) && is.has(row::LEASE) {
                self.processes[process].held |= 1 << number;
            }
            self.jobs[number].end(true);
        }
        for business in self.businesses.iter_mut().filter(|business| business.is_of(process)) {
            business.end(true);
        }
        self.bells |= self.processes[process].rang;
        self.processes[process] = self.processes[process].between();
    }

    pub fn roll_back(&mut self, process: usize) {
        for job in self.jobs.iter_mut().filter(|job| job.is_of(process)) {
            job.end(false);
        }
        for business in self.businesses.iter_mut().filter(|business| business.is_of(process)) {
            business.end(false);
        }
        self.bells |= self.processes[process].took;
        self.processes[process] = self.processes[process].between();
    }

    /// The process dies between two statements: what it knew is gone, and nobody reports its leases.
    pub fn crash(&mut self, process: usize) {
        self.roll_back(process);
        self.processes[process] = Process::default();
        self.forget(process, Set::MAX);
    }

    /// Leases that this process does not know of.
    pub fn forget(&mut self, process: usize, jobs: Set) {
        for (number, job) in self.jobs.iter_mut().enumerate().filter(|(number, _)| jobs & (1 << number) != 0) {
            if job.now.has(row::LEASE) && usize::from(job.now.holder) == process {
                job.now.holder = NOBODY;
                if job.owner != NOBODY && job.next.has(row::LEASE) {
                    job.next.holder = NOBODY;
                }
            }
            self.processes[process].held &= !(1 << number);
        }
    }

    /// The same state with the claimers in one order: which of them is which makes no difference.
    pub fn representative(&self, claimers: usize) -> Self {
        let mut order = [0, 1, 2];
        // The others never do anything.
        order[..claimers].sort_by_key(|claimer: &usize| self.packed_claimer(*claimer));
        if order == [0, 1, 2] {
            return self.clone();
        }
        let mut place = [0_u8; CLAIMERS];
        for (to, from) in (0_u8..).zip(order) {
            place[from] = to;
        }
        let renamed = |name: u8| place.get(usize::from(name)).copied().unwrap_or(name);
        let mut same = self.clone();
        for (to, from) in order.into_iter().enumerate() {
            same.processes[to] = self.processes[from];
        }
        for job in &mut same.jobs {
            job.owner = renamed(job.owner);
            job.now.holder = renamed(job.now.holder);
            job.next.holder = if job.owner == NOBODY { job.next.holder } else { renamed(job.next.holder) };
        }
        for business in &mut same.businesses {
            business.owner = renamed(business.owner);
        }
        same
    }

    /// What tells claimers apart: their own places, and what they own.
    fn packed_claimer(&self, claimer: usize) -> ([u8; 8 + JOBS], u8, u8) {
        let owned = self.which(|job| job.is_of(claimer));
        let locked = u8::from(self.businesses[0].is_of(claimer)) | u8::from(self.businesses[1].is_of(claimer)) << 1;
        (packed(&self.processes[claimer]), owned, locked)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

fn packed(process: &Process) -> [u8; 8 + JOBS] {
    let Process { at, took, rang, wants, chosen, takes, jobs, held, late } = *process;
    let [a, b, c, d] = late;
    [at as u8, took | rang << 4, wants | chosen << 4, takes[0], takes[1], jobs, held, 0, a, b, c, d]
}

/// As bytes in one piece: field by field it would take most of the checker's time.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut bytes = [0_u8; JOBS * 7 + BUSINESSES * 3 + 1 + PROCESSES * (8 + JOBS)];
        let mut at = 0;
        let mut put = |more: &[u8]| {
            bytes[at..at + more.len()].copy_from_slice(more);
            at += more.len();
        };
        for Row { now, next, owner } in &self.jobs {
            put(&[now.rows, now.attempt, now.holder, next.rows, next.attempt, next.holder, *owner]);
        }
        for Row { now, next, owner } in &self.businesses {
            let packed = |business: &Business| business.running << 1 | u8::from(business.has_more);
            put(&[packed(now), packed(next), *owner]);
        }
        put(&[self.bells]);
        for process in &self.processes {
            put(&packed(process));
        }
        hasher.write(&bytes);
    }
}
