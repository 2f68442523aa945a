//! `/metrics`: what this process measured, and the fleet as the database tells it. Asked for by machines inside the
//! network, so it needs no token, and says nothing of anybody's calls.

use super::HttpDeps;
use crate::domain::observation::{FleetMeter, FleetReading, MetricsPage};
use actix_web::{HttpResponse, http::header, web};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// However many collectors ask, and however often: the database is asked once in this time.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// Longest wait for the database's answer: a collector gives up after some seconds, and then it has nothing at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where pages are made. Each clone is the same desk.
#[derive(Clone)]
pub struct MetricsDesk {
    page: Arc<dyn MetricsPage>,
    meter: Arc<dyn FleetMeter>,
    last: Arc<Mutex<Option<(Instant, FleetReading)>>>,
}

impl MetricsDesk {
    pub fn new(page: Arc<dyn MetricsPage>, meter: Arc<dyn FleetMeter>) -> Self {
        Self { page, meter, last: Arc::default() }
    }

    /// On the I/O runtime. Who comes while the database is asked waits for the same answer.
    async fn text(&self, is_ready: bool) -> String {
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH_FOR) {
            let answer = tokio::time::timeout(PATIENCE, self.meter.gauges()).await;
            let reading = answer.map_or(FleetReading::Away, FleetReading::from);
            *last = Some((Instant::now(), reading));
        }
        self.page.text(is_ready, last.as_ref().map_or(&FleetReading::Away, |(_, reading)| reading))
    }
}

pub async fn page(deps: web::Data<HttpDeps>) -> HttpResponse {
    let is_ready = (deps.readiness)().is_empty();
    let desk = deps.metrics.clone();
    // A panic there is this request's, not the server's.
    match deps.io.spawn(async move { desk.text(is_ready).await }).await {
        Ok(text) => {
            HttpResponse::Ok().insert_header((header::CONTENT_TYPE, deps.metrics.page.content_type())).body(text)
        }
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
