//! The server around the routes.

use super::{
    HttpDeps, limits,
    openapi::Document,
    operation::{Operation, name_of},
    problem::Problem,
    routes,
};
use actix_web::{
    App, HttpServer,
    dev::Server,
    guard,
    http::Method,
    middleware::{DefaultHeaders, from_fn},
    web,
};
use std::{io, net::TcpListener, time::Duration};
use utoipa::openapi::HttpMethod;

/// Longest wait for a request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// Connections of one thread; more wait in the system's queue.
const CONNECTIONS: usize = 1_024;
/// Longest time that the drain waits for requests under way.
const DRAIN_SECONDS: u64 = 4;
const NO_ROUTE: &str = "there is no such route";

/// A server on `listener` that runs when it is polled. It handles no signals: the process's drain is ours.
pub fn serve(deps: HttpDeps, listener: TcpListener) -> io::Result<Server> {
    let workers = deps.workers;
    let document = web::Data::new(Document::new(routes::served(&deps)));
    let app = move || {
        let deps = deps.clone();
        App::new()
            .wrap(from_fn(limits::by_client))
            .wrap(
                DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")).add(("Cache-Control", "no-store")),
            )
            .app_data(web::Data::new(deps.clone()))
            .app_data(document.clone())
            .configure(|config| configure(config, &routes::served(&deps)))
            .default_service(web::to(|| async { Err::<&str, _>(Problem::not_found(NO_ROUTE)) }))
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEADERS_WITHIN)
        .shutdown_timeout(DRAIN_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// One resource for each path, in the order of the table: where a path fits two, the first counts.
fn configure(config: &mut web::ServiceConfig, operations: &[Operation]) {
    let mut paths: Vec<&str> = Vec::new();
    for operation in operations {
        if !paths.contains(&operation.path) {
            paths.push(operation.path);
        }
    }
    for path in paths {
        let (mut resource, mut allowed) = (web::resource(path), Vec::new());
        for operation in operations.iter().filter(|operation| operation.path == path) {
            let route = (operation.route)();
            let name = name_of(&operation.method).to_ascii_uppercase();
            // A HEAD is answered like a GET; the server leaves the body away.
            resource = resource.route(match operation.method {
                HttpMethod::Get => route.guard(guard::Any(guard::Get()).or(guard::Head())),
                _ => route.method(Method::from_bytes(name.as_bytes()).unwrap_or_default()),
            });
            allowed.extend((name == "GET").then(|| "HEAD".to_owned()));
            allowed.push(name);
        }
        allowed.sort_unstable();
        config.service(resource.default_service(other_methods(allowed.join(", "))));
    }
}

/// 405 for every method but those that `allow` names.
fn other_methods(allow: String) -> actix_web::Route {
    web::to(move || {
        let problem = Problem::method_not_allowed(allow.clone());
        async { Err::<&str, _>(problem) }
    })
}
