//! A transcription service as OpenAI has it, over real HTTP, that does as it is told.

use super::eventually;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};
use tokio::sync::Semaphore;

/// What it wants to see.
pub const KEY: &str = "sk-test-transcription-key";

/// What the next request for a call's recording gets.
#[derive(Debug, Clone)]
pub enum Words {
    /// These, one segment for each sentence, as `verbose_json`; without segments, as `json`.
    Spoken(&'static str),
    /// The same of a model that refuses `verbose_json` with 400.
    OnlyPlain(&'static str),
    Status(u16, Vec<(&'static str, String)>, Value),
    /// 200, and this.
    Junk(&'static str),
    /// As [`Words::Spoken`], after [`Transcriber::release`].
    Held(&'static str),
}

impl Words {
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), json!({ "error": { "message": "not today\nsk-test-transcription-key" } }))
    }
}

/// One upload as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub authorization: Option<String>,
    /// The text fields of the form.
    pub fields: BTreeMap<String, String>,
    pub file_name: String,
    pub content_type: String,
    pub file: Bytes,
}

pub struct Transcriber {
    base: String,
    desk: Arc<Desk>,
}

struct Desk {
    answers: Mutex<HashMap<String, VecDeque<Words>>>,
    heard: Mutex<Vec<Heard>>,
    gate: Semaphore,
    /// Refuses whatever key it sees.
    locked: Mutex<bool>,
}

impl Transcriber {
    /// Hears `call CA1 says hello` in the recording of `CA1` unless told otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let desk = Arc::new(Desk {
            answers: Mutex::default(),
            heard: Mutex::default(),
            gate: Semaphore::new(0),
            locked: Mutex::default(),
        });
        let data = web::Data::from(Arc::clone(&desk));
        thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(data.clone())
                        .app_data(web::PayloadConfig::new(64 << 20))
                        .route("/v1/models", web::get().to(models))
                        .route("/v1/audio/transcriptions", web::post().to(transcribe))
                };
                HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        Self { base, desk }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// What the next uploads of call `CA{number}` get, in order; the last one is repeated.
    pub fn tell(&self, number: u32, answers: impl IntoIterator<Item = Words>) {
        self.desk.answers.lock().unwrap().insert(format!("CA{number}"), answers.into_iter().collect());
    }

    /// From now on no key, or again the right one, is accepted.
    pub fn lock(&self, locked: bool) {
        *self.desk.locked.lock().unwrap() = locked;
    }

    pub fn release(&self, count: usize) {
        self.desk.gate.add_permits(count);
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.desk.heard.lock().unwrap().clone()
    }

    pub async fn heard_times(&self, count: usize) {
        eventually(&format!("{count} uploads"), || async { (self.heard().len() >= count).then_some(()) }).await;
    }
}

fn header(request: &HttpRequest, name: &str) -> Option<String> {
    request.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}

fn is_refused(desk: &Desk, request: &HttpRequest) -> Option<HttpResponse> {
    let right = header(request, "authorization") == Some(format!("Bearer {KEY}")) && !*desk.locked.lock().unwrap();
    let refusal = json!({ "error": { "message": format!("Incorrect API key provided: {KEY}."), "type": "invalid_request_error" } });
    (!right).then(|| HttpResponse::Unauthorized().json(refusal))
}

async fn models(desk: web::Data<Desk>, request: HttpRequest) -> HttpResponse {
    is_refused(&desk, &request).unwrap_or_else(|| HttpResponse::Ok().json(json!({ "object": "list", "data": [] })))
}

async fn transcribe(desk: web::Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    assert_eq!(header(&request, "content-length"), Some(body.len().to_string()), "the length is announced");
    let heard = parse(&header(&request, "content-type").unwrap(), header(&request, "authorization"), &body);
    let name = heard.file_name.split(['.', '-']).next().unwrap_or_default().to_owned();
    let verbose = heard.fields.get("response_format").is_some_and(|format| format == "verbose_json");
    desk.heard.lock().unwrap().push(heard);
    if let Some(refused) = is_refused(&desk, &request) {
        return refused;
    }
    let told = desk
        .answers
        .lock()
        .unwrap()
        .get_mut(&name)
        .and_then(|answers| if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() });
    match told {
        None => spoken(&format!("call {name} says hello."), verbose),
        Some(Words::Spoken(text)) => spoken(text, verbose),
        Some(Words::OnlyPlain(_)) if verbose => HttpResponse::BadRequest()
            .json(json!({ "error": { "message": "response_format 'verbose_json' is not compatible with model" } })),
        Some(Words::OnlyPlain(text)) => spoken(text, false),
        Some(Words::Held(text)) => {
            desk.gate.acquire().await.unwrap().forget();
            spoken(text, verbose)
        }
        Some(Words::Status(status, headers, body)) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                answer.insert_header(header);
            }
            answer.json(body)
        }
        Some(Words::Junk(body)) => HttpResponse::Ok().content_type("application/json").body(body),
    }
}

fn spoken(text: &str, verbose: bool) -> HttpResponse {
    if !verbose {
        return HttpResponse::Ok().json(json!({ "text": text }));
    }
    let segments: Vec<Value> = text
        .split_inclusive('.')
        .zip(0_u32..)
        .map(|(text, at)| {
            let start = f64::from(at) * 1.5;
            json!({ "id": at, "start": start, "end": start + 1.5, "text": text, "tokens": [1, 2] })
        })
        .collect();
    HttpResponse::Ok().json(
        json!({ "task": "transcribe", "language": "english", "duration": 3.0, "text": text, "segments": segments }),
    )
}

/// A form in parts (RFC 7578), as far as one needs it here.
fn parse(content_type: &str, authorization: Option<String>, body: &Bytes) -> Heard {
    let boundary = content_type.split_once("boundary=").unwrap().1.trim_matches('"');
    let (mark, mut rest) = (format!("--{boundary}\r\n"), body.clone());
    let end = format!("\r\n--{boundary}");
    let mut heard = Heard {
        authorization,
        fields: BTreeMap::new(),
        file_name: String::new(),
        content_type: String::new(),
        file: Bytes::new(),
    };
    while let Some(from) = find(&rest, mark.as_bytes()) {
        rest = rest.slice(from + mark.len()..);
        let head_ends = find(&rest, b"\r\n\r\n").unwrap();
        let header_lines = String::from_utf8(rest[..head_ends].to_vec()).unwrap();
        rest = rest.slice(head_ends + 4..);
        let ends = find(&rest, end.as_bytes()).unwrap();
        let (content, after) = (rest.slice(..ends), rest.slice(ends + 2..));
        rest = after;
        let value =
            |name: &str| Some(header_lines.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
        let name = value("; name").unwrap();
        if name == "file" {
            heard.file_name = value("filename").unwrap();
            let of = header_lines.lines().find_map(|line| {
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            });
            heard.content_type = of.map(|(_, value)| value.to_owned()).unwrap_or_default();
            heard.file = content;
        } else {
            heard.fields.insert(name, String::from_utf8(content.to_vec()).unwrap());
        }
    }
    heard
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
