//! Which routes there are, for which roles.

use super::{
    HttpDeps,
    access::session,
    dashboard::{events, pages},
    health, jobs, limits, metrics,
    problem::Problem,
    recordings, webhooks,
};
use actix_web::{
    App, HttpServer,
    dev::Server,
    guard,
    middleware::{DefaultHeaders, from_fn},
    web,
};
use std::{io, net::TcpListener, time::Duration};

/// Longest wait for a request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// Longest time that the drain waits for requests under way.
const DRAIN_SECONDS: u64 = 4;
const NO_ROUTE: &str = "there is no such route";

/// A server on `listener` that runs when it is polled. It handles no signals: the process's drain is ours.
pub fn serve(deps: HttpDeps, listener: TcpListener) -> io::Result<Server> {
    let workers = deps.workers;
    let app = move || {
        let deps = deps.clone();
        App::new()
            .wrap(from_fn(limits::by_client))
            .wrap(
                DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")).add(("Cache-Control", "no-store")),
            )
            .app_data(web::Data::new(deps.clone()))
            .configure(|config| routes(config, &deps))
            .default_service(web::to(|| async { Err::<&str, _>(Problem::not_found(NO_ROUTE)) }))
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .client_request_timeout(HEADERS_WITHIN)
        .shutdown_timeout(DRAIN_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

fn routes(config: &mut web::ServiceConfig, deps: &HttpDeps) {
    let mut get = |path: &str, route: fn() -> actix_web::Route| {
        // A HEAD is answered like a GET; the server leaves the body away.
        let resource = web::resource(path).route(route().guard(guard::Any(guard::Get()).or(guard::Head())));
        config.service(resource.default_service(other_methods("GET, HEAD")));
    };
    get("/healthz", || web::route().to(health::alive));
    get("/readyz", || web::route().to(health::ready));
    get("/metrics", || web::route().to(metrics::page));
    if deps.api {
        get("/", || web::route().to(pages::index));
        get("/assets/{name}", || web::route().to(pages::asset));
        get("/v1/events", || web::route().to(events::events));
        get("/v1/jobs/{id}", || web::route().to(jobs::show));
        get("/v1/recordings/{call_sid}", || web::route().to(recordings::show));
        get("/v1/recordings/{call_sid}/media", || web::route().to(recordings::media));
        let session = web::resource("/session")
            .route(web::post().to(session::log_in))
            .route(web::delete().to(session::log_out))
            .route(web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(session::show));
        config.service(session.default_service(other_methods("GET, HEAD, POST, DELETE")));
        config.service(
            web::resource("/v1/jobs").route(web::post().to(jobs::enqueue)).default_service(other_methods("POST")),
        );
    }
    if deps.webhooks {
        let resource = web::resource("/webhooks/twilio/recording").route(web::post().to(webhooks::recording));
        config.service(resource.default_service(other_methods("POST")));
    }
}

/// 405 for every method but those that `allow` names.
fn other_methods(allow: &'static str) -> actix_web::Route {
    web::to(move || async move { Err::<&str, _>(Problem::method_not_allowed(allow)) })
}
