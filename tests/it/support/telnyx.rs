//! A Telnyx over real HTTP that does as it is told: its API, and on another port, which is another origin, its media.

use super::{
    http::{RawAnswer, ask},
    process::{Process, Setup},
    provider::recording,
};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

pub const API_KEY: &str = "KEY0123456789canary";
pub const WEBHOOK: &str = "/webhooks/telnyx/recording";
/// More than these a page does not have, whatever was asked for.
const PAGE: usize = 2;

/// The id of a recording, and of its call's session.
pub fn recording_id(number: u32) -> String {
    format!("{number:08x}-cf0e-44f3-ac57-9f95fb03fa47")
}

pub fn session_id(number: u32) -> String {
    format!("{number:08x}-7af4-4bcb-b7f5-5013ef9657c1")
}

/// What the next question for a recording's resource gets.
#[derive(Debug, Clone)]
pub enum Says {
    /// It is there: `single` or `dual`, in these formats.
    Completed(&'static str, &'static [&'static str]),
    /// It is there; its URLs have run out.
    Expired,
    /// It is there, at this URL.
    At(String),
    /// It has this status, and no URLs.
    Is(&'static str),
    /// The API answers this.
    Status(u16, Vec<(&'static str, String)>),
}

/// What the media's host gives.
#[derive(Debug, Clone)]
pub enum Gives {
    Status(u16, Vec<(&'static str, String)>),
    Media(Bytes),
}

#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /v2/recordings/…`
    pub line: String,
    pub authorization: Option<String>,
}

pub struct Telnyx {
    api: String,
    media: String,
    desk: Arc<Desk>,
    key: Ed25519KeyPair,
}

#[derive(Default)]
struct Desk {
    media: Mutex<String>,
    says: Mutex<HashMap<String, VecDeque<Says>>>,
    gives: Mutex<HashMap<String, Gives>>,
    listed: Mutex<Vec<u32>>,
    deleted: Mutex<BTreeSet<String>>,
    asked: Mutex<Vec<Asked>>,
    media_asked: Mutex<Vec<Asked>>,
}

impl Telnyx {
    /// Every recording is there as MP3 with one channel, unless told otherwise.
    pub fn start() -> Self {
        let desk = Arc::new(Desk::default());
        let api = serve(&desk, |desk, request| answer(&desk, &request));
        let media = serve(&desk, |desk, request| media_answer(&desk, &request));
        desk.media.lock().unwrap().clone_from(&media);
        Self { api, media, desk, key: Ed25519KeyPair::generate().unwrap() }
    }

    pub fn base(&self) -> &str {
        &self.api
    }

    pub fn media_base(&self) -> &str {
        &self.media
    }

    pub fn public_key(&self) -> String {
        BASE64_STANDARD.encode(self.key.public_key())
    }

    /// Fetches from here, and believes what is signed here.
    pub fn set_up(&self, setup: Setup) -> Setup {
        setup
            .var("CALLSPOOL__TELNYX__API_BASE", &self.api)
            .var("CALLSPOOL__TELNYX__MEDIA_BASE", &self.media)
            .var("TELNYX_API_KEY", API_KEY)
            .var("TELNYX_PUBLIC_KEY", &self.public_key())
    }

    /// In order; the last one is repeated.
    pub fn tell(&self, number: u32, says: impl IntoIterator<Item = Says>) {
        self.desk.says.lock().unwrap().insert(recording_id(number), says.into_iter().collect());
    }

    pub fn give(&self, number: u32, gives: Gives) {
        self.desk.gives.lock().unwrap().insert(recording_id(number), gives);
    }

    pub fn list(&self, numbers: impl IntoIterator<Item = u32>) {
        self.desk.listed.lock().unwrap().extend(numbers);
    }

    pub fn url(&self, number: u32) -> String {
        format!("{}/v2/recordings/{}", self.api, recording_id(number))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.desk.asked.lock().unwrap().clone()
    }

    pub fn media_asked(&self) -> Vec<Asked> {
        self.desk.media_asked.lock().unwrap().clone()
    }

    fn sign(&self, timestamp: &str, body: &str) -> String {
        BASE64_STANDARD.encode(self.key.sign(format!("{timestamp}|{body}").as_bytes()))
    }
}

fn serve(desk: &Arc<Desk>, answer: fn(web::Data<Desk>, HttpRequest) -> HttpResponse) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let data = web::Data::from(Arc::clone(desk));
    thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let app = move || {
                let handler = move |desk, request| std::future::ready(answer(desk, request));
                App::new().app_data(data.clone()).default_service(web::to(handler))
            };
            HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
        })
    });
    base
}

fn note(place: &Mutex<Vec<Asked>>, request: &HttpRequest) -> Option<String> {
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let line = format!("{} {}", request.method(), request.uri());
    place.lock().unwrap().push(Asked { line, authorization: authorization.clone() });
    authorization
}

fn answer(desk: &Desk, request: &HttpRequest) -> HttpResponse {
    if note(&desk.asked, request).as_deref() != Some(&format!("Bearer {API_KEY}")) {
        return HttpResponse::Unauthorized().json(json!({ "errors": [{ "code": "10009" }] }));
    }
    let path = request.path();
    if path == "/v2/recordings" {
        return list(desk, request.query_string());
    }
    let Some(id) = path.strip_prefix("/v2/recordings/") else { return HttpResponse::NotFound().finish() };
    if request.method() == "DELETE" {
        let is_new = desk.deleted.lock().unwrap().insert(id.to_owned());
        let status = if is_new { StatusCode::OK } else { StatusCode::NOT_FOUND };
        return HttpResponse::build(status).json(json!({ "data": { "id": id } }));
    }
    let says = desk
        .says
        .lock()
        .unwrap()
        .get_mut(id)
        .and_then(|says| if says.len() > 1 { says.pop_front() } else { says.front().cloned() });
    let signed = |format: &str| {
        format!("{}/bucket/{id}.{format}?X-Amz-Signature=canary-signature", desk.media.lock().unwrap())
    };
    let (status, channels, urls) = match says.unwrap_or(Says::Completed("single", &["mp3"])) {
        Says::Status(status, headers) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                answer.insert_header(header);
            }
            return answer.json(json!({ "errors": [] }));
        }
        Says::Is(status) => (status, "single", json!({})),
        Says::At(url) => ("completed", "single", json!({ "mp3": url })),
        Says::Expired => ("completed", "single", json!({ "mp3": format!("{}&expired", signed("mp3")) })),
        Says::Completed(channels, formats) => {
            let urls: HashMap<_, _> = formats.iter().map(|format| (*format, signed(format))).collect();
            ("completed", channels, json!(urls))
        }
    };
    HttpResponse::Ok().json(json!({ "data": {
        "id": id,
        "record_type": "recording",
        "call_control_id": "v3:canary",
        "channels": channels,
        "download_urls": urls,
        "duration_millis": 2_500,
        "recording_started_at": "2026-01-23T18:10:02.574Z",
        "status": status,
    }}))
}

fn list(desk: &Desk, query: &str) -> HttpResponse {
    let query: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let number: usize = query.get("page[number]").map_or(1, |number| number.parse().unwrap());
    let listed = desk.listed.lock().unwrap();
    let page: Vec<Value> = listed
        .chunks(PAGE)
        .nth(number - 1)
        .unwrap_or_default()
        .iter()
        .map(|number| {
            json!({
                "id": recording_id(*number),
                // One that nobody can name.
                "call_session_id": if *number == 0 { Value::Null } else { session_id(*number).into() },
                "channels": "dual",
                "duration_millis": 2_500,
                "recording_started_at": "2026-01-23T18:10:02.574Z",
                "status": "completed",
                "download_urls": {},
            })
        })
        .collect();
    let meta = json!({
        "page_number": number,
        "page_size": PAGE,
        "total_pages": listed.len().div_ceil(PAGE),
        "total_results": listed.len(),
    });
    HttpResponse::Ok().json(json!({ "data": page, "meta": meta }))
}

fn media_answer(desk: &Desk, request: &HttpRequest) -> HttpResponse {
    note(&desk.media_asked, request);
    if request.query_string().ends_with("&expired") {
        return HttpResponse::Forbidden().body("<Error><Code>AccessDenied</Code></Error>");
    }
    let name = request.path().rsplit('/').next().unwrap_or_default();
    let id = name.split('.').next().unwrap_or_default();
    let gives = desk.gives.lock().unwrap().get(id).cloned();
    let number = id.split('-').next().and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    match gives.unwrap_or_else(|| Gives::Media(recording(number))) {
        Gives::Media(bytes) => HttpResponse::Ok().content_type("Audio/MPEG; x=1").body(bytes),
        Gives::Status(status, headers) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                answer.insert_header(header);
            }
            answer.finish()
        }
    }
}

/// A webhook as Telnyx sends it.
#[derive(Clone)]
pub struct Delivery {
    query: String,
    event: Value,
    /// Seconds from now.
    at: i64,
    /// Bytes behind the body that was signed.
    tampered: &'static str,
}

impl Delivery {
    /// Recording `number` is saved; of business 42.
    pub fn saved(number: u32) -> Self {
        Self::of("call.recording.saved", number)
    }

    pub fn of(event_type: &str, number: u32) -> Self {
        let event = json!({ "data": {
            "record_type": "event",
            "event_type": event_type,
            "id": "0ccc7b54-4df3-4bca-a65a-3da1ecc777f0",
            "occurred_at": "2026-02-02T22:25:27.521992Z",
            "payload": {
                "call_control_id": "v3:canary",
                "call_leg_id": session_id(number),
                "call_session_id": session_id(number),
                "client_state": null,
                "connection_id": "1684641123236054244",
                "channels": "dual",
                "recording_id": recording_id(number),
                "recording_started_at": "2026-02-02T22:20:27.521992Z",
                "recording_ended_at": "2026-02-02T22:25:27.521992Z",
                "recording_urls": { "mp3": "https://s3.amazonaws.com/x.mp3?X-Amz-Signature=canary-signature" },
                "public_recording_urls": {},
            },
        }, "meta": { "attempt": 1 }});
        Self { query: "?business_id=42".to_owned(), event, at: 0, tampered: "" }
    }

    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    pub fn payload(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.event["data"]["payload"][field] = value.into();
        self
    }

    pub fn event(mut self, event: Value) -> Self {
        self.event = event;
        self
    }

    pub fn at(mut self, seconds: i64) -> Self {
        self.at = seconds;
        self
    }

    pub fn tampered(mut self, behind: &'static str) -> Self {
        self.tampered = behind;
        self
    }

    /// Signed by `telnyx`.
    pub async fn send(&self, process: &Process, telnyx: &Telnyx) -> RawAnswer {
        let body = self.event.to_string();
        let timestamp = (chrono::Utc::now().timestamp() + self.at).to_string();
        let headers = format!(
            "Content-Type: application/json\r\ntelnyx-timestamp: {timestamp}\r\ntelnyx-signature-ed25519: {}\r\n",
            telnyx.sign(&timestamp, &body)
        );
        let body = format!("{body}{}", self.tampered);
        ask(process, &format!("POST {WEBHOOK}{}", self.query), &headers, body.as_bytes()).await
    }
}
