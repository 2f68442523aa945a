//! `GET /v1/events`: server-sent events for the dashboard. `overview` (as `GET /v1/overview`, with the number of viewers)
//! comes at once and then every two seconds, `trouble` with a `code` where the database has no answer.

use super::live::Viewer;
use crate::{
    domain::access::Scope,
    http::{HttpDeps, problem::Problem},
};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;
use futures_util::{Stream, stream};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// Without an event for this long a comment is sent: whoever went away is noticed, and proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Then the browser comes again, and shows that its session still holds.
const LIFETIME: Duration = Duration::from_mins(15);
/// The browser waits so long before it does, in milliseconds.
const AGAIN: &str = "retry: 1000\n\n";

pub async fn events(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let viewer = deps.live.viewer()?;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // nginx would keep events back until it has some kilobytes of them.
        .insert_header((header::HeaderName::from_static("x-accel-buffering"), "no"))
        // The connection ends with the stream: at the drain nothing waits for another request on it.
        .force_close()
        .streaming(stream_of(viewer)))
}

fn stream_of(viewer: Viewer) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let end = Instant::now() + LIFETIME;
    let first = stream::iter([Ok(Bytes::from_static(AGAIN.as_bytes()))]);
    let events = stream::unfold(viewer, move |mut viewer| async move {
        let bytes = tokio::select! {
            event = viewer.next() => event?,
            () = sleep(HEARTBEAT) => Bytes::from_static(b": still here\n\n"),
            () = sleep_until(end) => return None,
        };
        Some((Ok(bytes), viewer))
    });
    futures_util::StreamExt::chain(first, events)
}
