//! The simulated provider: Twilio's media route, with the moods of the real one.

use super::scenario::{Recording, Temper};
use crate::domain::ids::{AccountSid, BusinessId};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    http::{StatusCode, header},
    web,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{Stream, stream};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::TcpListener,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What stands in front of the media on a bad day: not a recording, and a success by its status.
const PAGE: &str = "<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>";
/// How long a recording that is not ready yet stays so, from the first request on.
const NOT_READY_FOR: Duration = Duration::from_millis(800);
/// A body is sent in this many parts, with pauses between them.
const PARTS: u16 = 5;
/// Pauses of one download together: from the shortest to the longest.
const LATENCY_MS: (u64, u64) = (40, 240);

#[derive(Debug, Clone)]
pub struct Credentials {
    pub account_sid: AccountSid,
    pub auth_token: SecretString,
}

/// A provider that serves until its process ends.
#[derive(Debug, Clone)]
pub struct SimulatedTwilio {
    base: String,
    account_sid: AccountSid,
    desk: Arc<Desk>,
}

/// What the provider counts for itself: it takes nobody's word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Downloads of each business at one time, at most.
    pub peak: BTreeMap<BusinessId, u32>,
    /// Requests for each recording, by its SID.
    pub requests: HashMap<String, u32>,
    /// Answers other than a whole recording, by kind.
    pub moods: BTreeMap<&'static str, u32>,
}

#[derive(Debug)]
struct Desk {
    authorization: String,
    recordings: HashMap<String, Recording>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    running: HashMap<BusinessId, u32>,
    first_asked: HashMap<String, Instant>,
    observed: Observed,
}

impl SimulatedTwilio {
    pub fn start(listener: TcpListener, recordings: &[Recording], credentials: &Credentials) -> io::Result<Self> {
        let base = format!("http://{}", listener.local_addr()?);
        let Credentials { account_sid, auth_token } = credentials;
        let basic = BASE64_STANDARD.encode(format!("{account_sid}:{}", auth_token.expose_secret()));
        let by_sid = recordings.iter().map(|r| (r.recording_sid.to_string(), r.clone())).collect();
        let desk = Arc::new(Desk {
            authorization: format!("Basic {basic}"),
            recordings: by_sid,
            counts: Mutex::default(),
        });
        let data = web::Data::from(Arc::clone(&desk));
        // A System of its own, so that it is as separate from the process under show as the real provider.
        thread::Builder::new().name("simulated-twilio".to_owned()).spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).route(MEDIA, web::get().to(media));
                HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run().await
            })
        })?;
        Ok(Self { base, account_sid: account_sid.clone(), desk })
    }

    /// `TWILIO_API_BASE` for who is to fetch from here.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The URL that a callback names, as the real ones do: without an extension.
    pub fn recording_url(&self, recording: &Recording) -> String {
        format!("{}/2010-04-01/Accounts/{}/Recordings/{}", self.base, self.account_sid, recording.recording_sid)
    }

    pub fn observed(&self) -> Observed {
        self.desk.counts().observed.clone()
    }
}

const MEDIA: &str = "/2010-04-01/Accounts/{account}/Recordings/{recording}.mp3";

async fn media(desk: web::Data<Desk>, request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if authorization != Some(&desk.authorization) {
        return HttpResponse::Unauthorized().finish();
    }
    let Some(recording) = desk.recordings.get(&path.1) else { return HttpResponse::NotFound().finish() };
    let visit = Visit::begin(Arc::clone(&desk), recording);
    let media = recording.media();
    let refused = match recording.temper {
        Temper::NotReady if visit.since_first < NOT_READY_FOR => StatusCode::NOT_FOUND,
        Temper::RateLimited if visit.number == 1 => StatusCode::TOO_MANY_REQUESTS,
        Temper::Failing if visit.number == 1 => StatusCode::INTERNAL_SERVER_ERROR,
        Temper::Paging if visit.number == 1 => {
            visit.count("page");
            return HttpResponse::Ok().content_type("text/html; charset=utf-8").body(PAGE);
        }
        Temper::Truncating if visit.number == 1 => {
            visit.count("truncated");
            let sent = media.slice(..media.len() / 2);
            return body(visit, recording, StatusCode::OK, 0..media.len(), sent);
        }
        _ => return whole_or_rest(visit, recording, &request, media),
    };
    refuse(&visit, refused)
}

/// Whoever has the first part asks for the rest, and says of which file.
fn whole_or_rest(visit: Visit, recording: &Recording, request: &HttpRequest, media: Bytes) -> HttpResponse {
    if let Temper::Mislabelling { .. } = recording.temper {
        visit.count("WAV called MPEG");
    }
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_same = text(header::IF_RANGE).is_none_or(|tag| tag == etag(recording));
    let from = text(header::RANGE)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|from| is_same && (1..media.len()).contains(from));
    let all = media.len();
    match from {
        Some(from) => {
            visit.count("resumed");
            body(visit, recording, StatusCode::PARTIAL_CONTENT, from..all, media.slice(from..))
        }
        None => body(visit, recording, StatusCode::OK, 0..all, media),
    }
}

fn etag(recording: &Recording) -> String {
    format!("\"{}\"", recording.recording_sid)
}

fn refuse(visit: &Visit, status: StatusCode) -> HttpResponse {
    let mut answer = HttpResponse::build(status);
    visit.count(match status {
        StatusCode::NOT_FOUND => "404",
        StatusCode::TOO_MANY_REQUESTS => "429",
        _ => "500",
    });
    if status == StatusCode::TOO_MANY_REQUESTS {
        answer.insert_header((header::RETRY_AFTER, "1"));
    }
    answer.json(serde_json::json!({ "status": status.as_u16(), "message": "simulated" }))
}

/// Announces a part of the file and sends as much of it as is given; the connection ends where that is less.
fn body(
    visit: Visit,
    recording: &Recording,
    status: StatusCode,
    announced: Range<usize>,
    sent: Bytes,
) -> HttpResponse {
    let mut answer = HttpResponse::build(status);
    answer.content_type("audio/mpeg").no_chunking(announced.len() as u64);
    answer.insert_header((header::ETAG, etag(recording)));
    if status == StatusCode::PARTIAL_CONTENT {
        let Range { start, end } = announced;
        answer.insert_header((header::CONTENT_RANGE, format!("bytes {start}-{}/{end}", end - 1)));
    }
    let cut = sent.len() < announced.len();
    answer.streaming(slowly(visit, sent, cut))
}

/// The bytes in parts with pauses; the visit ends when the last part is taken, or the client goes.
fn slowly(visit: Visit, media: Bytes, cut: bool) -> impl Stream<Item = io::Result<Bytes>> {
    let pause = Duration::from_millis(rand::random_range(LATENCY_MS.0..LATENCY_MS.1)) / u32::from(PARTS);
    let part = media.len().div_ceil(usize::from(PARTS));
    stream::unfold((visit, media, cut), move |(visit, mut media, cut)| async move {
        if media.is_empty() {
            // The connection ends before the announced length.
            return cut.then(|| (Err(io::Error::other("simulated cut")), (visit, media, false)));
        }
        actix_rt::time::sleep(pause).await;
        let next = media.split_to(part.min(media.len()));
        Some((Ok(next), (visit, media, cut)))
    })
}

impl Desk {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, from its first byte to its last: what a slot is for.
struct Visit {
    desk: Arc<Desk>,
    business_id: BusinessId,
    /// Counts from 1, for this recording.
    number: u32,
    since_first: Duration,
}

impl Visit {
    fn begin(desk: Arc<Desk>, recording: &Recording) -> Self {
        let (sid, business_id) = (recording.recording_sid.to_string(), recording.business_id);
        let mut counts = desk.counts();
        let since_first = counts.first_asked.entry(sid.clone()).or_insert_with(Instant::now).elapsed();
        let running = counts.running.entry(business_id).or_default();
        *running += 1;
        let running = *running;
        let peak = counts.observed.peak.entry(business_id).or_default();
        *peak = running.max(*peak);
        let number = counts.observed.requests.entry(sid).or_default();
        *number += 1;
        let number = *number;
        drop(counts);
        Self { desk, business_id, number, since_first }
    }

    fn count(&self, mood: &'static str) {
        *self.desk.counts().observed.moods.entry(mood).or_default() += 1;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(running) = self.desk.counts().running.get_mut(&self.business_id) {
            *running -= 1;
        }
    }
}
