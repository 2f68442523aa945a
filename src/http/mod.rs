//! Routes: the provider's webhooks, the API, and health. A handler reads and checks its input, asks a port, and
//! answers; every error is `application/problem+json` (RFC 9457).
//!
//! | file | what it holds |
//! |---|---|
//! | `actor` | the server as a child of the tree |
//! | `routes` | which routes there are, for which roles, and what each takes and answers |
//! | `operation`, `openapi` | from that table: the router, and `/openapi.json` |
//! | `server` | the server around it |
//! | `webhooks`, `signature` | Twilio's callback, and the proof that it is Twilio's |
//! | `telnyx` | Telnyx' webhook, and the proof that it is Telnyx' |
//! | `jobs`, `operate`, `businesses`, `holds`, `fleet` | the API |
//! | `bulk` | many jobs as JSON lines |
//! | `recordings` | what is stored of a call, with its media, its links and its end |
//! | `transcripts` | what was said, found by its words |
//! | `audit`, `follow_ups` | who did what, and what is still to be done |
//! | `access`, `limits` | who may use it, and how often |
//! | `door` | how many requests ask the database at a time |
//! | `dashboard` | the pages at `/`, and their stream |
//! | `health` | `/healthz`, `/readyz` |
//! | `metrics` | `/metrics` |
//! | `fresh` | answers that all share who ask within a moment |
//! | `body`, `params`, `problem` | bounded bodies, parameters, errors |
//! | `arrival` | a request as a span of its trace |
//! | `tried` | all of these without a server, for `fuzz/` |
//!
//! Handlers run on the server's own threads, whose runtimes come and go; the ports are asked on the I/O runtime
//! ([`HttpDeps::on_io`]), where their connections live.

mod access;
mod actor;
mod arrival;
mod audit;
mod body;
mod bulk;
mod businesses;
mod dashboard;
mod door;
mod fleet;
mod follow_ups;
mod fresh;
mod health;
mod holds;
mod jobs;
mod limits;
mod metrics;
mod openapi;
mod operate;
mod operation;
mod params;
mod problem;
mod recordings;
mod routes;
mod server;
mod signature;
mod telnyx;
mod transcripts;
#[doc(hidden)]
pub mod tried;
mod webhooks;

pub use access::Tokens;
pub use actor::{HttpActor, Socket};
pub use dashboard::Live;
pub use door::{Door, connections_for_requests};
pub use fresh::FreshAnswers;
pub use limits::Limits;
pub use metrics::MetricsDesk;
pub use openapi::openapi_document;
pub use recordings::Links;
pub use signature::sign;
pub use telnyx::TelnyxWebhook;
#[doc(hidden)]
pub use {
    bulk::split_lines,
    telnyx::read_event,
    webhooks::{ReadForm, read_form},
};

use crate::{
    actors::{listener::JobsCameIn, supervision::Outbox},
    domain::{
        account::Accounts,
        completion::CompletionRules,
        enqueue_request::untranscribed,
        ids::SidForm,
        job::{Enqueued, NewJob},
        observation::{Observation, Observer},
        ports::{
            BusinessLookup, Clock, Custody, FleetView, FollowUps, Gate, Holds, JobBook, Operations, RecordingBook,
            Storage, StoreError, StoreResult, TranscriptBook,
        },
        recording_url::ProviderBases,
        trace::{TraceParent, Tracer},
    },
};
use arrival::Arrival;
use door::NoTurn;
use problem::Problem;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinError};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// What the routes need. Cheap to clone: every server thread has one.
#[derive(Clone)]
pub struct HttpDeps {
    pub jobs: Arc<dyn JobBook>,
    pub operations: Arc<dyn Operations>,
    pub holds: Arc<dyn Holds>,
    pub fleet: Arc<dyn FleetView>,
    pub gate: Arc<dyn Gate>,
    pub recordings: Arc<dyn RecordingBook>,
    pub transcripts: Arc<dyn TranscriptBook>,
    pub custody: Arc<dyn Custody>,
    pub follow_ups: Arc<dyn FollowUps>,
    /// Signs and knows links to recordings.
    pub links: Links,
    /// Which URLs a business may have.
    pub completion_rules: CompletionRules,
    pub storage: Arc<dyn Storage>,
    pub tracer: Arc<dyn Tracer>,
    pub clock: Arc<dyn Clock>,
    pub io: Handle,
    pub jobs_came_in: Outbox<JobsCameIn>,
    /// What stands against this process's readiness, apart from the database's answer.
    pub readiness: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    pub observer: Arc<dyn Observer>,
    pub metrics: MetricsDesk,
    pub fresh: FreshAnswers,
    /// Whether `/v1` is served.
    pub api: bool,
    /// Whether `/webhooks` is served.
    pub webhooks: bool,
    /// What the dashboard's streams share.
    pub live: Live,
    pub tokens: Tokens,
    pub limits: Limits,
    /// Every question to a port goes through it.
    pub door: Door,
    /// Whether anybody transcribes: jobs of the type `full` are refused where nobody does.
    pub transcribes: bool,
    pub webhook: WebhookConfig,
    /// What the webhooks of Telnyx are checked with.
    pub telnyx: TelnyxWebhook,
    pub provider_bases: ProviderBases,
    pub sid_form: SidForm,
    /// Largest body of a request, in bytes.
    pub body_limit: usize,
    /// Largest body of a bulk, in bytes.
    pub bulk_limit: usize,
    /// Longest time that the ports have for one request.
    pub time_limit: Duration,
    /// Threads that serve.
    pub workers: usize,
}

/// How a webhook proves that it is the provider's, and whose its call is.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Callbacks of other accounts are refused; without a token no webhook can be checked, and each is refused.
    pub accounts: Accounts,
    /// Asked where neither the callback's URL nor its account says whose the call is.
    pub lookup: Option<Arc<dyn BusinessLookup>>,
    /// The scheme and host that the provider was told, where they are not those of the request.
    pub public_url: Option<Url>,
}

impl HttpDeps {
    /// Asks a port on the I/O runtime, and gives up after a time: then, as when the caller hangs up, nobody works on an
    /// answer that nobody waits for. A panic there is this request's, not the server's.
    async fn on_io<T: Send + 'static>(
        &self,
        call: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> Result<T, Problem> {
        let call = self.door.enter_to_read()?.ask(self.time_limit, call);
        let call = AbortOnDropHandle::new(self.io.spawn(call));
        in_time(self.time_limit, call).await
    }

    /// The same for a change, which is carried through in any case once it is begun.
    async fn change_on_io<T: Send + 'static>(
        &self,
        call: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.change_within(self.time_limit, call).await
    }

    async fn change_within<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> Result<T, Problem> {
        let call = self.io.spawn(self.door.enter()?.ask(limit, call));
        in_time(limit, call).await
    }

    /// Enqueues one job; its attempts belong to the request's trace.
    async fn enqueue(&self, arrival: Arrival, job: NewJob) -> Result<Enqueued, Problem> {
        self.enqueue_told(arrival, job, None).await
    }

    /// The same for a provider's event: `token` is the same for each of its tries to tell us.
    async fn enqueue_told(
        &self,
        arrival: Arrival,
        job: NewJob,
        token: Option<String>,
    ) -> Result<Enqueued, Problem> {
        if let Some(fault) = untranscribed(&job, self.transcribes) {
            return Err(Problem::invalid(vec![fault]));
        }
        let span = arrival.begin(self, &job);
        let answer = self.commit(NewJob { trace_parent: span.trace_parent(), ..job }, token).await;
        arrival::end(span, &answer);
        answer
    }

    /// Commits one job, says so in the log, and rings; all of it also when the caller hangs up or is told `timeout`.
    async fn commit(&self, job: NewJob, token: Option<String>) -> Result<Enqueued, Problem> {
        let (jobs, jobs_came_in) = (Arc::clone(&self.jobs), self.jobs_came_in.clone());
        let observer = Arc::clone(&self.observer);
        self.change_on_io(async move {
            let answers = jobs.enqueue(std::slice::from_ref(&job)).await?;
            let Some(enqueued) = answers.into_iter().next() else {
                return Err(StoreError::new(None, "an enqueued job was not answered"));
            };
            note_enqueued(&*observer, &job, &enqueued, token.as_deref());
            if !enqueued.deduplicated {
                jobs_came_in.send(JobsCameIn);
            }
            Ok(enqueued)
        })
        .await
    }
}

async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<Result<StoreResult<T>, NoTurn>, JoinError>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(Ok(answer))) => answer.map_err(|error| Problem::from(&error)),
        Ok(Err(_)) => Err(Problem::unavailable()),
        // Whichever of the two clocks is looked at first.
        Ok(Ok(Err(NoTurn))) | Err(_) => Err(Problem::timeout(limit)),
    }
}

/// What the log and the metrics are told of a job after its commit.
fn note_enqueued(observer: &dyn Observer, job: &NewJob, enqueued: &Enqueued, idempotency_token: Option<&str>) {
    observer.observe(Observation::Enqueued { deduplicated: enqueued.deduplicated });
    tracing::info!(
        marker = "ENQUEUE",
        job_type = %job.job_type,
        call_sid = %job.call_sid,
        business_id = job.business_id.get(),
        deduplicated = enqueued.deduplicated,
        job_id = %enqueued.id,
        trace_id = job.trace_parent.as_ref().and_then(TraceParent::logged_id),
        idempotency_token,
        "recording enqueued"
    );
}
