//! The doors of the process: the HTTP server with what its routes ask.

use super::edges::Edges;
use crate::{
    actors::{
        obstacle::Obstacle,
        supervision::{ChildRef, ChildSpec, ChildState, Roster},
        supervisor::{Addresses, WORKER_GROUP},
    },
    domain::{observation::Observer, ports::Clock, trace::Tracer},
    http::{
        Door, FreshAnswers, HttpActor, HttpDeps, Limits, Links, Live, MetricsDesk, Socket, TelnyxWebhook, Tokens,
        WebhookConfig,
    },
    settings::{Role, Settings},
    store::Store,
};
use std::{net::TcpListener, sync::Arc};
use tokio::runtime::Handle;

/// What the routes ask.
pub(super) struct Routes {
    pub(super) store: Arc<Store>,
    pub(super) edges: Edges,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) io: Handle,
    pub(super) readiness: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) metrics: MetricsDesk,
    pub(super) door: Door,
    pub(super) tracer: Arc<dyn Tracer>,
}

pub(super) fn spec(settings: &Settings, addresses: &Addresses, routes: Routes, listener: TcpListener) -> ChildSpec {
    let Routes { store, edges, clock, io, readiness, observer, metrics, door, tracer } = routes;
    let deps = HttpDeps {
        live: Live::new(store.clone(), io.clone()),
        jobs: store.clone(),
        operations: store.clone(),
        holds: store.clone(),
        fleet: store.clone(),
        gate: store.clone(),
        recordings: store.clone(),
        transcripts: store.clone(),
        custody: store.clone(),
        follow_ups: store,
        links: Links::new(settings.link_secrets.clone()),
        completion_rules: settings.completion.rules(),
        storage: edges.storage,
        tracer,
        clock,
        io,
        jobs_came_in: addresses.listener.outbox(),
        readiness,
        observer,
        metrics,
        fresh: FreshAnswers::default(),
        api: settings.roles.has(Role::Api),
        webhooks: settings.roles.has(Role::Webhooks),
        tokens: Tokens::new(settings.http.api_tokens.clone()),
        door,
        limits: Limits::new(settings.http.rate_limit, settings.http.rate_burst),
        transcribes: settings.transcription.base_url.is_some(),
        webhook: WebhookConfig {
            accounts: settings.twilio.accounts.clone(),
            lookup: edges.sources.lookup,
            public_url: settings.http.public_url.clone(),
        },
        telnyx: TelnyxWebhook { public_key: settings.telnyx.public_key, business_id: settings.telnyx.business_id },
        provider_bases: settings.provider_bases(),
        sid_form: settings.twilio.sid_form,
        body_limit: settings.http.body_limit,
        bulk_limit: settings.http.bulk_limit,
        time_limit: settings.http.time_limit,
        workers: settings.http.workers,
    };
    let socket = Socket::new(listener);
    ChildSpec::new("http", ChildRef::default(), move |_, child| HttpActor::new(child, deps.clone(), socket.clone()))
}

/// Everything that `/readyz` may have to say against this process.
pub(super) fn readiness(obstacles: [Obstacle; 3], roster: Roster) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    Arc::new(move || {
        let mut reasons: Vec<String> = obstacles.iter().filter_map(Obstacle::get).collect();
        let children = roster.children();
        let (workers, others): (Vec<_>, Vec<_>) =
            children.iter().partition(|child| child.id.starts_with(WORKER_GROUP));
        for child in others.iter().filter(|child| child.state != ChildState::Up) {
            reasons.push(format!("{} is {}", child.id, child.state.as_str()));
        }
        if !workers.is_empty() && workers.iter().all(|worker| worker.state != ChildState::Up) {
            reasons.push("no recording_worker is up".to_owned());
        }
        reasons
    })
}
