//! What the provider lists of its recordings, page by page: Twilio's `Recordings.json`.

use super::{process::ACCOUNT_SID, provider::Answer};
use actix_web::{HttpResponse, http::StatusCode};
use serde_json::json;
use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::Semaphore;

/// Nothing is listed until it is told to be, and until a test asks for it others answer.
pub struct Listing {
    is_on: AtomicBool,
    recordings: Mutex<Vec<(u32, &'static str)>>,
    page: AtomicUsize,
    instead: Mutex<VecDeque<Answer>>,
    /// Pages behind the first that are answered; as many as there are until [`Listing::hold_after`].
    free: Semaphore,
    asked: AtomicUsize,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            is_on: AtomicBool::default(),
            recordings: Mutex::default(),
            page: AtomicUsize::new(50),
            instead: Mutex::default(),
            free: Semaphore::new(Semaphore::MAX_PERMITS),
            asked: AtomicUsize::default(),
        }
    }
}

impl Listing {
    pub(super) fn begin(&self) {
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Recordings `RE{number}` of calls `CA{number}` are there.
    pub fn has(&self, numbers: impl IntoIterator<Item = u32>) {
        self.recordings.lock().unwrap().extend(numbers.into_iter().map(|number| (number, "completed")));
    }

    /// One with another status.
    pub fn has_as(&self, number: u32, status: &'static str) {
        self.recordings.lock().unwrap().push((number, status));
    }

    pub fn page_size(&self, size: usize) {
        self.page.store(size, Ordering::SeqCst);
    }

    /// What the next pages get instead.
    pub fn instead(&self, answers: impl IntoIterator<Item = Answer>) {
        self.instead.lock().unwrap().extend(answers);
    }

    /// Pages behind the next `count` are answered only after [`Listing::release`].
    pub fn hold_after(&self, count: usize) {
        self.free.forget_permits(Semaphore::MAX_PERMITS);
        self.free.add_permits(count);
    }

    pub fn release(&self) {
        self.free.add_permits(1_000);
    }

    /// Pages that were asked for so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// `None`: it is not the listing that is asked for.
    pub(super) async fn answer(&self, path: &str) -> Option<HttpResponse> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if !path.ends_with("/Recordings.json") || !self.is_on.load(Ordering::SeqCst) {
            return None;
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.free.acquire().await.unwrap().forget();
        let instead = self.instead.lock().unwrap().pop_front();
        if let Some(Answer::Status(status, headers, body)) = instead {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                answer.insert_header(header);
            }
            return Some(answer.body(body));
        }
        let parameter = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
        };
        let from = parameter("PageToken").map_or(0, |token| token.trim_start_matches("PT").parse().unwrap());
        let size = self.page.load(Ordering::SeqCst);
        let all = self.recordings.lock().unwrap().clone();
        let page: Vec<_> =
            all.iter().skip(from).take(size).map(|(number, status)| recording(*number, status)).collect();
        let next = from + size;
        let next_page_uri =
            (next < all.len()).then(|| format!("{path}?PageSize={size}&Page={}&PageToken=PT{next}", next / size));
        Some(HttpResponse::Ok().json(json!({
            "recordings": page,
            "next_page_uri": next_page_uri,
            "page": from / size,
            "page_size": size,
        })))
    }
}

fn recording(number: u32, status: &str) -> serde_json::Value {
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}");
    json!({
        "account_sid": ACCOUNT_SID,
        "api_version": "2010-04-01",
        "call_sid": format!("CA{number}"),
        "sid": format!("RE{number}"),
        "status": status,
        "duration": if status == "completed" { "1" } else { "-1" },
        "channels": 1,
        "start_time": "Wed, 25 Feb 2026 12:00:00 +0000",
        "date_created": "Wed, 25 Feb 2026 12:00:00 +0000",
        "date_updated": "Wed, 25 Feb 2026 12:01:00 +0000",
        "source": "RecordVerb",
        "error_code": null,
        "price": null,
        "price_unit": "USD",
        "uri": format!("{path}.json"),
        "media_url": format!("https://api.twilio.com{path}"),
    })
}
