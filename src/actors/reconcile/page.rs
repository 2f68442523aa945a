//! One page of what the provider has: what is missing here is enqueued. The step that the reconciler and the command
//! `backfill` share; it may be taken again after any failure, since nothing is enqueued twice.

use crate::domain::{
    failure::Failure,
    ids::{AccountSid, BusinessId},
    job::{Enqueued, JobType, NewJob},
    mapping::{CallFacts, Whose, whose},
    ports::{BusinessLookup, IntakeBook, JobBook, Listed, Period, Provider, StoreError},
    reconcile::{Counts, PRIORITY, Standing},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{fmt, sync::Arc, time::Duration};

/// Questions to the lookup service at a time.
const LOOKUPS: usize = 8;

#[derive(Clone)]
pub struct Intake {
    pub provider: Arc<dyn Provider>,
    pub jobs: Arc<dyn JobBook>,
    pub book: Arc<dyn IntakeBook>,
    pub lookup: Option<Arc<dyn BusinessLookup>>,
    /// The accounts, and whose their recordings are, where their configuration says it.
    pub accounts: Arc<[(AccountSid, Option<BusinessId>)]>,
}

/// How a page is to be gone through.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageRules {
    /// Whose everything is; the first rule of [`crate::domain::mapping`].
    pub business: Option<BusinessId>,
    /// Count only.
    pub dry_run: bool,
}

#[derive(Debug, Default)]
pub struct PageDone {
    pub counts: Counts,
    pub next: Option<String>,
    /// Jobs that are new.
    pub enqueued: Vec<(NewJob, Enqueued)>,
}

/// Why a page was not gone through.
#[derive(Debug)]
pub enum PageTrouble {
    Provider(Failure),
    Lookup(Failure),
    Store(StoreError),
}

impl PageTrouble {
    /// Whether asking again, soon, can help.
    pub fn can_pass(&self) -> bool {
        match self {
            Self::Provider(failure) => {
                failure.can_pass() && !matches!(failure.http_status, Some(400 | 401 | 403 | 404))
            }
            Self::Lookup(failure) => !matches!(failure.http_status, Some(400 | 401 | 403)),
            Self::Store(_) => true,
        }
    }

    /// The provider does not know this page any more.
    pub fn is_lost_page(&self) -> bool {
        matches!(self, Self::Provider(failure) if matches!(failure.http_status, Some(400 | 404)))
    }

    /// What the other side asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider(failure) | Self::Lookup(failure) => failure.retry_after,
            Self::Store(_) => None,
        }
    }
}

impl fmt::Display for PageTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(failure) => failure.fmt(f),
            Self::Lookup(failure) => write!(f, "mapping.lookup_url: {failure}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Intake {
    pub async fn page(
        &self,
        period: &Period,
        page: Option<&str>,
        rules: PageRules,
    ) -> Result<PageDone, PageTrouble> {
        let listed = self.provider.list(period, page).await.map_err(PageTrouble::Provider)?;
        let mut done = PageDone { next: listed.next, ..PageDone::default() };
        done.counts.seen = count(listed.recordings.len());
        let (there, gone): (Vec<_>, Vec<_>) = listed.recordings.into_iter().partition(|listed| listed.is_there);
        done.counts.gone = count(gone.len());
        let missing = self.missing(there, &mut done.counts).await?;
        let jobs = self.mapped(missing, rules, &mut done.counts).await?;
        if rules.dry_run {
            done.counts.enqueued = count(jobs.len());
            return Ok(done);
        }
        if jobs.is_empty() {
            return Ok(done);
        }
        let answers = self.jobs.enqueue(&jobs).await.map_err(PageTrouble::Store)?;
        // A webhook may have told of it since the question above.
        let (had, new): (Vec<_>, Vec<_>) =
            jobs.into_iter().zip(answers).partition(|(_, answer)| answer.deduplicated);
        done.counts.had += count(had.len());
        done.counts.enqueued = count(new.len());
        done.enqueued = new;
        Ok(done)
    }

    async fn missing(&self, there: Vec<Listed>, counts: &mut Counts) -> Result<Vec<Listed>, PageTrouble> {
        let sids: Vec<_> =
            there.iter().map(|listed| (listed.call_sid.clone(), listed.recording_sid.clone())).collect();
        if sids.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.book.known(&sids).await.map_err(PageTrouble::Store)?;
        counts.had += count(known.iter().flatten().count());
        counts.dead += count(known.iter().flatten().filter(|standing| Standing::is_lost(**standing)).count());
        let missing = there.into_iter().zip(known).filter(|(_, known)| known.is_none());
        Ok(missing.map(|(listed, _)| listed).collect())
    }

    /// Those of which somebody says whose they are, as jobs.
    async fn mapped(
        &self,
        missing: Vec<Listed>,
        rules: PageRules,
        counts: &mut Counts,
    ) -> Result<Vec<NewJob>, PageTrouble> {
        let asked = missing.into_iter().map(async |listed| {
            let business = self.business_of(&listed, rules.business).await?;
            Ok((listed, business))
        });
        let mapped: Vec<_> = stream::iter(asked).buffered(LOOKUPS).try_collect().await?;
        let all = mapped.len();
        let jobs: Vec<NewJob> =
            mapped.into_iter().filter_map(|(listed, business)| Some(job(listed, business?))).collect();
        counts.unmapped = count(all - jobs.len());
        Ok(jobs)
    }

    async fn business_of(
        &self,
        listed: &Listed,
        told: Option<BusinessId>,
    ) -> Result<Option<BusinessId>, PageTrouble> {
        if told.is_some() {
            return Ok(told);
        }
        let account = self.accounts.iter().find(|(sid, _)| *sid == listed.account_sid);
        match whose(None, account.and_then(|(_, business)| *business), self.lookup.is_some()) {
            Ok(Whose::Known(business)) => return Ok(Some(business)),
            Ok(Whose::Ask) => {}
            Err(_) => return Ok(None),
        }
        let Some(lookup) = &self.lookup else { return Ok(None) };
        let facts = CallFacts {
            call_sid: listed.call_sid.clone(),
            account_sid: listed.account_sid.clone(),
            recording_sid: Some(listed.recording_sid.clone()),
            from: None,
            to: None,
        };
        lookup.business_of(&facts).await.map_err(PageTrouble::Lookup)
    }
}

fn job(listed: Listed, business_id: BusinessId) -> NewJob {
    NewJob {
        business_id,
        call_sid: listed.call_sid,
        recording_sid: Some(listed.recording_sid),
        recording_url: listed.recording_url,
        job_type: JobType::default(),
        priority: PRIORITY,
        run_at: None,
        details: listed.details,
        trace_parent: None,
    }
}

fn count(length: usize) -> u64 {
    length as u64
}
