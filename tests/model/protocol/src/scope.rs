//! What one run of the checker looks at: how many of what, which steps, and which mistake.

use crate::state::Set;

/// How large the model is, and which steps it has.
#[derive(Debug, Clone)]
pub struct Scope {
    pub name: &'static str,
    /// At most [`crate::state::CLAIMERS`]; the others never do anything.
    pub claimers: usize,
    /// Workers of each claimer: it holds at most so many leases.
    pub workers: u8,
    /// The business of each job that is ever enqueued, 0 or 1; a job's number is its `job_id`.
    pub business_of: Vec<usize>,
    /// Which jobs are enqueued by one transaction.
    pub parcels: Vec<Set>,
    pub max_slots: [u8; 2],
    /// A lease that is lost with this attempt ends the job.
    pub max_attempts: u8,
    /// Whether workers fail, so that jobs are scheduled and promoted.
    pub retries: bool,
    /// Whether a process that drains hands jobs back.
    pub hands_back: bool,
    /// Whether an operator cancels jobs and tries them again.
    pub operator: bool,
    /// Whether the answer to a commit may be lost.
    pub unseen: bool,
    /// Whether each state is also asked if all jobs end from there, without another fault.
    pub looks_ahead: bool,
    pub mutant: Option<Mutant>,
}

/// A mistake that the SQL could make. Each breaks a property of [`crate::properties`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The drain leaves businesses alone that are marked already.
    DrainSkipsMarked,
    /// The bells are deleted by a transaction of their own.
    DrainCommitsFirst,
    /// The claim is one statement: its snapshot is older than its locks.
    ClaimIsOneStatement,
    /// The claim counts without the businesses' locks.
    ClaimDoesNotLock,
    /// The claim waits for locks instead of passing them over.
    ClaimWaits,
    /// Enqueueing marks businesses that are not marked, and rings no bell.
    EnqueueMarks,
    /// A report ends whatever lease its job has.
    NoFence,
    /// A report ends the lease with its attempt's number.
    FenceIsTheAttempt,
    /// A report is written down whether or not there is a lease.
    ReportsAreBelieved,
    /// A report frees a slot whether or not there is a lease.
    StaleReportFreesSlot,
    /// The lease ends in one transaction, and the slot is freed in the next.
    SettleInTwo,
    /// A job that is handed back leaves its business unmarked.
    HandBackDoesNotMark,
    /// A job that is reaped leaves its business unmarked.
    ReapDoesNotMark,
    /// The reaper locks businesses in another order than everybody else.
    ReapLocksBackwards,
    /// Promotion rings no bell.
    PromoteDoesNotRing,
    /// A cancel takes the ready rows before it locks their business.
    CancelLocksLate,
    /// A cancel takes the mark away without a look at what else is ready.
    CancelUnmarks,
    /// What is tried again rings no bell.
    RetryDoesNotRing,
}

impl Mutant {
    pub const ALL: [Self; 18] = [
        Self::DrainSkipsMarked,
        Self::DrainCommitsFirst,
        Self::ClaimIsOneStatement,
        Self::ClaimDoesNotLock,
        Self::ClaimWaits,
        Self::EnqueueMarks,
        Self::NoFence,
        Self::FenceIsTheAttempt,
        Self::ReportsAreBelieved,
        Self::StaleReportFreesSlot,
        Self::SettleInTwo,
        Self::HandBackDoesNotMark,
        Self::ReapDoesNotMark,
        Self::ReapLocksBackwards,
        Self::PromoteDoesNotRing,
        Self::CancelLocksLate,
        Self::CancelUnmarks,
        Self::RetryDoesNotRing,
    ];
}

impl Scope {
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn with(&self, mutant: Mutant) -> Self {
        Self { mutant: Some(mutant), ..self.clone() }
    }

    /// The jobs of a business.
    pub fn jobs_of(&self, business: usize) -> Set {
        let of = |&(_, b): &(usize, &usize)| *b == business;
        self.business_of.iter().enumerate().filter(of).fold(0, |set, (job, _)| set | 1 << job)
    }

    /// The businesses of these jobs.
    pub fn businesses_of(&self, jobs: Set) -> Set {
        (0..2).filter(|b| self.jobs_of(*b) & jobs != 0).fold(0, |set, b| set | 1 << b)
    }
}
