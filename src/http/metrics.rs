//! `/metrics`: what this process measured, and the fleet as the database tells it. Asked for by machines inside the
//! network, so it needs no token, and says nothing of anybody's calls.

use super::{HttpDeps, fresh::Fresh};
use crate::domain::observation::{FleetMeter, FleetReading, MetricsPage};
use actix_web::{HttpResponse, http::header, web};
use std::{sync::Arc, time::Duration};

/// However many collectors ask, and however often: the database is asked once in this time.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// Longest wait for the database's answer: a collector gives up after some seconds, and then it has nothing at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where pages are made. Each clone is the same desk.
#[derive(Clone)]
pub struct MetricsDesk {
    page: Arc<dyn MetricsPage>,
    meter: Arc<dyn FleetMeter>,
    reading: Fresh<FleetReading>,
}

impl MetricsDesk {
    pub fn new(page: Arc<dyn MetricsPage>, meter: Arc<dyn FleetMeter>) -> Self {
        Self { page, meter, reading: Fresh::new(FRESH_FOR) }
    }

    /// On the I/O runtime.
    async fn text(&self, is_ready: bool) -> String {
        let ask = async {
            let answer = tokio::time::timeout(PATIENCE, self.meter.gauges()).await;
            answer.map_or(FleetReading::Away, FleetReading::from)
        };
        self.page.text(is_ready, &self.reading.get(ask).await)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{observation::FleetGauges, ports::StoreResult};
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Answers after everybody has asked.
    #[derive(Default)]
    struct Counting(AtomicU32);

    #[async_trait]
    impl FleetMeter for Counting {
        async fn gauges(&self) -> StoreResult<FleetGauges> {
            self.0.fetch_add(1, Ordering::Relaxed);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            Ok(FleetGauges::default())
        }
    }

    struct Blank;

    impl MetricsPage for Blank {
        fn content_type(&self) -> &'static str {
            "text/plain"
        }

        fn text(&self, _: bool, reading: &FleetReading) -> String {
            format!("{}", *reading == FleetReading::Fleet(FleetGauges::default()))
        }
    }

    #[tokio::test]
    async fn however_many_collectors_ask_the_database_is_asked_once() {
        let meter = Arc::new(Counting::default());
        let desk = MetricsDesk::new(Arc::new(Blank), meter.clone());
        let asking = (0..100).map(|_| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.text(true).await })
        });
        for page in futures_util::future::join_all(asking.collect::<Vec<_>>()).await {
            assert_eq!(page.unwrap(), "true");
        }
        assert_eq!(meter.0.load(Ordering::Relaxed), 1);
        desk.reading.grow_stale().await;
        desk.text(true).await;
        assert_eq!(meter.0.load(Ordering::Relaxed), 2);
    }
}
