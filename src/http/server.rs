//! Which routes there are, for which roles.

use super::{HttpDeps, health, jobs, problem::Problem, webhooks};
use actix_web::{App, HttpServer, dev::Server, middleware::DefaultHeaders, web};
use std::{io, net::TcpListener, time::Duration};

/// Longest wait for a request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// Longest time that the drain waits for requests under way.
const DRAIN_SECONDS: u64 = 4;

/// A server on `listener` that runs when it is polled. It handles no signals: the process's drain is ours.
pub fn serve(deps: HttpDeps, listener: TcpListener) -> io::Result<Server> {
    let workers = deps.workers;
    let app = move || {
        let deps = deps.clone();
        App::new()
            .wrap(DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")).add(("Cache-Control", "no-store")))
            .app_data(web::Data::new(deps.clone()))
            .configure(|config| routes(config, &deps))
            .default_service(web::to(|| async { Err::<&str, _>(Problem::not_found("there is no such route")) }))
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
    let other_methods = || web::to(|| async { Err::<&str, _>(Problem::method_not_allowed()) });
    let mut route = |path: &str, route: actix_web::Route| {
        config.service(web::resource(path).route(route).default_service(other_methods()));
    };
    route("/healthz", web::get().to(health::alive));
    route("/readyz", web::get().to(health::ready));
    if deps.webhooks {
        route("/webhooks/twilio/recording", web::post().to(webhooks::recording));
    }
    if deps.api {
        route("/v1/jobs", web::post().to(jobs::enqueue));
        route("/v1/jobs/{id}", web::get().to(jobs::show));
    }
}
