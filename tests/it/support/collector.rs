//! A collector of traces over real HTTP, which keeps what it gets.

use super::{eventually, process::Setup};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use std::{
    collections::BTreeMap,
    fmt::Write,
    future,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

/// A span as it came, its ids in hexadecimal digits and every value as text.
#[derive(Debug, Clone)]
pub struct Seen {
    pub name: String,
    pub trace_id: String,
    pub span_id: String,
    /// Empty for none.
    pub parent: String,
    pub kind: i32,
    pub attributes: BTreeMap<String, String>,
    /// Of the process.
    pub resource: BTreeMap<String, String>,
    /// The status, where it is one of an error.
    pub error: Option<String>,
    pub start: u64,
    pub end: u64,
}

impl Seen {
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub fn service(&self) -> &str {
        &self.resource["service.name"]
    }
}

pub struct Collector {
    base: String,
    desk: Arc<Desk>,
}

struct Desk {
    answers: bool,
    spans: Mutex<Vec<Seen>>,
    requests: Mutex<Vec<BTreeMap<String, String>>>,
}

impl Collector {
    pub fn start() -> Self {
        Self::open(true)
    }

    /// One that takes every batch and never answers.
    pub fn silent() -> Self {
        Self::open(false)
    }

    fn open(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Desk { answers, spans: Mutex::default(), requests: Mutex::default() });
        let data = web::Data::from(Arc::clone(&desk));
        thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).route("/v1/traces", web::post().to(take));
                HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        Self { base, desk }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// Everything so far.
    pub fn spans(&self) -> Vec<Seen> {
        self.desk.spans.lock().unwrap().clone()
    }

    /// The headers of each batch so far.
    pub fn requests(&self) -> Vec<BTreeMap<String, String>> {
        self.desk.requests.lock().unwrap().clone()
    }

    /// Waits until `count` spans came that are called `name`.
    pub async fn spans_named(&self, name: &str, count: usize) -> Vec<Seen> {
        eventually(&format!("{count} spans {name}"), || async {
            let named: Vec<Seen> = self.spans().into_iter().filter(|span| span.name == name).collect();
            (named.len() >= count).then_some(named)
        })
        .await
    }
}

impl Setup {
    /// Its spans go to `collector`, soon.
    pub fn traced(self, collector: &Collector) -> Self {
        self.var("OTEL_EXPORTER_OTLP_ENDPOINT", collector.base()).var("OTEL_BSP_SCHEDULE_DELAY", "50")
    }
}

async fn take(desk: web::Data<Desk>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap_or_default().to_owned())
    };
    desk.requests.lock().unwrap().push(request.headers().iter().map(header).collect());
    if !desk.answers {
        future::pending::<()>().await;
    }
    for of_process in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = texts(of_process.resource.unwrap_or_default().attributes);
        let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
        desk.spans.lock().unwrap().extend(spans.map(|span| seen(span, &resource)));
    }
    HttpResponse::Ok().content_type("application/x-protobuf").finish()
}

fn seen(span: Span, resource: &BTreeMap<String, String>) -> Seen {
    const ERROR: i32 = 2;
    Seen {
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        attributes: texts(span.attributes),
        resource: resource.clone(),
        error: span.status.filter(|status| status.code == ERROR).map(|status| status.message),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
