//! A provider over real HTTP that does as it is told.

use super::{
    eventually,
    listing::Listing,
    process::{ACCOUNT_SID, AUTH_TOKEN},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    http::{StatusCode, header::HeaderValue},
    web,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tokio::sync::Semaphore;

/// What the next request for a recording gets.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole recording.
    Media(Bytes),
    /// A status with headers and a body.
    Status(u16, Vec<(&'static str, String)>, Bytes),
    /// The first half, then nothing until [`Provider::release`], then the rest.
    Held(Bytes),
    /// No byte until [`Provider::release`], then all.
    Late(Bytes),
    /// The length of all and the bytes of a part; then the connection ends.
    Cut(Bytes, usize),
    /// The same, with headers that say which version it is.
    CutOf(Vec<(&'static str, String)>, Bytes, usize),
    /// A byte, a pause, a byte, and so on.
    Drip(Bytes, Duration),
    /// Another length announced than comes; then the connection ends.
    Lying(u64, Bytes),
    /// No length announced.
    Chunked(Vec<Bytes>),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), Bytes::from_static(b"{}"))
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    /// All of them, by their lower-case names.
    pub headers: HashMap<String, String>,
}

pub struct Provider {
    base: String,
    desk: Arc<Desk>,
}

struct Desk {
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
    /// For every path with such a part, the last one that fits.
    parts: Mutex<Vec<(String, Answer)>>,
    asked: Mutex<Vec<Asked>>,
    gate: Semaphore,
    listing: Listing,
}

impl Provider {
    /// Answers every recording with [`mp3`] unless told otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Desk {
            answers: Mutex::default(),
            parts: Mutex::default(),
            asked: Mutex::default(),
            gate: Semaphore::new(0),
            listing: Listing::default(),
        });
        let data = web::Data::from(Arc::clone(&desk));
        thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).default_service(web::to(answer));
                HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        Self { base, desk }
    }

    /// What it lists; asked for by a test, it answers every list.
    pub fn listing(&self) -> &Listing {
        self.desk.listing.begin();
        &self.desk.listing
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// What the next requests for recording `RE{number}` get, in order; the last one is repeated.
    pub fn tell(&self, number: u32, answers: impl IntoIterator<Item = Answer>) {
        self.desk.answers.lock().unwrap().insert(format!("RE{number}"), answers.into_iter().collect());
    }

    /// What every request gets whose path has this part, whatever else was told.
    pub fn tell_where(&self, part: &str, answer: Answer) {
        self.desk.parts.lock().unwrap().push((part.to_owned(), answer));
    }

    pub fn forget_where(&self, part: &str) {
        self.desk.parts.lock().unwrap().retain(|(other, _)| other != part);
    }

    /// What the next requests for exactly this path and query get, whatever [`Self::tell`] said; the last one is
    /// repeated. A resource that nobody told of, `….json`, is answered with 404, and an account with 200.
    pub fn tell_at(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.desk.answers.lock().unwrap().insert(path.to_owned(), answers.into_iter().collect());
    }

    /// The same for a resource.
    pub fn tell_json(&self, path: &str, resource: &serde_json::Value) {
        let json = vec![("Content-Type", "application/json".to_owned())];
        self.tell_at(path, [Answer::Status(200, json, resource.to_string().into())]);
    }

    /// Lets `count` held recordings go on.
    pub fn release(&self, count: usize) {
        self.desk.gate.add_permits(count);
    }

    /// Requests for media.
    pub fn asked(&self) -> Vec<Asked> {
        let is_media = |asked: &Asked| !is_resource(asked.path.split('?').next().unwrap_or_default());
        self.asked_all().into_iter().filter(is_media).collect()
    }

    /// Every request.
    pub fn asked_all(&self) -> Vec<Asked> {
        self.desk.asked.lock().unwrap().clone()
    }

    /// The paths of every request.
    pub fn paths(&self) -> Vec<String> {
        self.asked_all().into_iter().map(|asked| asked.path).collect()
    }

    /// Waits until `count` requests came.
    pub async fn asked_times(&self, count: usize) {
        eventually(&format!("{count} requests"), || async { (self.asked().len() >= count).then_some(()) }).await;
    }

    /// The `Authorization` that it expects to see.
    pub fn basic_auth() -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        format!("Basic {}", BASE64_STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}")))
    }
}

/// Bytes and nanoseconds of one frame: MPEG-1 layer III, 32 kbit/s, 44.1 kHz, one channel.
const FRAME: usize = 104;
const FRAME_NANOS: u64 = 26_122_448;

/// Frames of silence, `length` bytes of them, the last perhaps cut; `seed` makes it this recording's own.
pub fn mp3(seed: u32, length: usize) -> Bytes {
    let mut frame = [0; FRAME];
    frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x10, 0xC4]);
    let mut bytes = frame.repeat(length.div_ceil(FRAME));
    // Where the first frame has its side information: nobody decodes it.
    bytes[4..8].copy_from_slice(&seed.to_be_bytes());
    bytes.truncate(length);
    bytes.into()
}

/// How long [`mp3`] plays.
pub fn plays_ms(length: usize) -> u64 {
    (length / FRAME) as u64 * FRAME_NANOS / 1_000_000
}

/// Telephone WAV: 16 bits, 8 kHz, so many channels and seconds.
pub fn wav(channels: u16, seconds: u32) -> Bytes {
    let data = seconds * 16_000 * u32::from(channels);
    let mut bytes = [b"RIFF".as_slice(), &(data + 36).to_le_bytes(), b"WAVEfmt ", &16_u32.to_le_bytes()].concat();
    bytes.extend([1, channels].map(u16::to_le_bytes).concat());
    bytes.extend([8_000, 16_000 * u32::from(channels)].map(u32::to_le_bytes).concat());
    bytes.extend([2 * channels, 16].map(u16::to_le_bytes).concat());
    bytes.extend([b"data".as_slice(), &data.to_le_bytes()].concat());
    bytes.resize(44 + data as usize, 7);
    bytes.into()
}

/// What recording `RE{number}` is, unless told otherwise.
pub fn recording(number: u32) -> Bytes {
    mp3(number, 10_000)
}

fn is_resource(path: &str) -> bool {
    path.strip_suffix(".json").is_some()
}

async fn answer(desk: web::Data<Desk>, request: HttpRequest) -> HttpResponse {
    let text = |value: &HeaderValue| value.to_str().ok().map(ToOwned::to_owned);
    let headers = request.headers().iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    let headers: HashMap<String, String> = headers.collect();
    let path = request.uri().to_string();
    desk.asked.lock().unwrap().push(Asked {
        method: request.method().to_string(),
        path: path.clone(),
        authorization: headers.get("authorization").cloned(),
        headers,
    });
    if let Some(listed) = desk.listing.answer(&path).await {
        return listed;
    }
    let last = path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let name = last.split('.').next().unwrap_or_default().to_owned();
    let is_resource = is_resource(last);
    let told = {
        let mut answers = desk.answers.lock().unwrap();
        let key = if answers.contains_key(&path) || is_resource { &path } else { &name };
        let told = answers.get_mut(key);
        told.and_then(|told| if told.len() > 1 { told.pop_front() } else { told.front().cloned() })
    };
    let is_account = is_resource && name.starts_with("AC");
    let told = told.or_else(|| is_resource.then(|| Answer::status(if is_account { 200 } else { 404 })));
    let parts = desk.parts.lock().unwrap().clone();
    let of_part = parts.into_iter().rev().find(|(part, _)| path.contains(part.as_str())).map(|(_, answer)| answer);
    let number = name.trim_start_matches("RE").parse().unwrap_or(0);
    match of_part.or(told).unwrap_or_else(|| Answer::Media(recording(number))) {
        Answer::Media(bytes) => HttpResponse::Ok().content_type("audio/mpeg").body(bytes),
        Answer::Status(status, headers, body) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                answer.insert_header(header);
            }
            answer.body(body)
        }
        Answer::Held(bytes) => {
            let half = bytes.len() / 2;
            let (first, rest) = (bytes.slice(..half), bytes.slice(half..));
            let rest = stream::once(async move {
                desk.gate.acquire().await.unwrap().forget();
                Ok::<_, std::io::Error>(rest)
            });
            let body = stream::once(async { Ok(first) }).chain(rest);
            HttpResponse::Ok().content_type("audio/mpeg").no_chunking(bytes.len() as u64).streaming(Box::pin(body))
        }
        Answer::Late(bytes) => {
            let length = bytes.len() as u64;
            let all = stream::once(async move {
                desk.gate.acquire().await.unwrap().forget();
                Ok::<_, std::io::Error>(bytes)
            });
            HttpResponse::Ok().content_type("audio/mpeg").no_chunking(length).streaming(Box::pin(all))
        }
        Answer::Cut(bytes, sent) => cut(Vec::new(), bytes.len() as u64, bytes.slice(..sent)),
        Answer::CutOf(headers, bytes, sent) => cut(headers, bytes.len() as u64, bytes.slice(..sent)),
        Answer::Drip(bytes, pause) => {
            let length = bytes.len() as u64;
            let drops = stream::unfold((bytes, tokio::time::interval(pause)), |(mut bytes, mut pace)| async {
                pace.tick().await;
                let drop = (!bytes.is_empty()).then(|| bytes.split_to(1))?;
                Some((Ok::<_, std::io::Error>(drop), (bytes, pace)))
            });
            HttpResponse::Ok().content_type("audio/mpeg").no_chunking(length).streaming(Box::pin(drops))
        }
        Answer::Lying(length, bytes) => cut(Vec::new(), length, bytes),
        Answer::Chunked(parts) => {
            HttpResponse::Ok().streaming(stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
        }
    }
}

fn cut(headers: Vec<(&'static str, String)>, announced: u64, part: Bytes) -> HttpResponse {
    let cut = stream::once(async {
        // The server sends what it has whenever the body makes it wait.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    let body = stream::once(async { Ok(part) }).chain(cut);
    let mut answer = HttpResponse::Ok();
    for header in headers {
        answer.insert_header(header);
    }
    answer.content_type("audio/mpeg").no_chunking(announced).streaming(Box::pin(body))
}
