//! Requests as the provider, an application or an attacker sends them.

use super::process::{ACCOUNT_SID, AUTH_TOKEN, Process};
use callspool::http::sign;
use secrecy::SecretString;
use serde_json::Value;
use std::sync::LazyLock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::form_urlencoded;

pub const WEBHOOK: &str = "/webhooks/twilio/recording";

/// Twilio's `RecordingStatusCallback`.
#[derive(Clone)]
pub struct Callback {
    query: String,
    fields: Vec<(String, String)>,
    token: String,
    /// The URL without its query that is signed; `None`: the one that is asked.
    told: Option<String>,
    headers: Vec<(&'static str, String)>,
    is_json: bool,
}

impl Callback {
    /// Recording `RE{number}` of call `CA{number}` of business 42 is completed.
    pub fn completed(number: u32) -> Self {
        let fields = [
            ("AccountSid", ACCOUNT_SID.to_owned()),
            ("CallSid", format!("CA{number}")),
            ("RecordingSid", format!("RE{number}")),
            ("RecordingUrl", format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}")),
            ("RecordingStatus", "completed".to_owned()),
            ("RecordingChannels", "1".to_owned()),
        ];
        Self {
            query: "?business_id=42".to_owned(),
            fields: fields.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            token: AUTH_TOKEN.to_owned(),
            told: None,
            headers: Vec::new(),
            is_json: false,
        }
    }

    /// As a JSON object, whose checksum the URL has.
    pub fn json(mut self) -> Self {
        self.is_json = true;
        self
    }

    pub fn field(self, name: &str, value: &str) -> Self {
        let mut changed = self.without(name);
        changed.fields.push((name.to_owned(), value.to_owned()));
        changed
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(other, _)| other != name);
        self
    }

    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    pub fn told(mut self, url: &str) -> Self {
        self.told = Some(url.to_owned());
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Another signature than the right one.
    pub fn signature(self, signature: &str) -> Self {
        self.header("X-Twilio-Signature", signature)
    }

    pub fn form(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish()
    }

    pub fn body(&self) -> String {
        if !self.is_json {
            return self.form();
        }
        let fields = self.fields.iter().map(|(name, value)| (name.clone(), Value::String(value.clone())));
        Value::Object(fields.collect()).to_string()
    }

    fn full_query(&self) -> String {
        use sha2::{Digest, Sha256};
        if !self.is_json || self.query.contains("bodySHA256") {
            return self.query.clone();
        }
        let sum = Sha256::digest(self.body()).iter().fold(String::new(), |sum, byte| format!("{sum}{byte:02x}"));
        let sign = if self.query.is_empty() { '?' } else { '&' };
        format!("{}{sign}bodySHA256={sum}", self.query)
    }

    fn right_signature(&self, process_url: &str) -> String {
        let told = self.told.clone().unwrap_or_else(|| format!("{process_url}{WEBHOOK}"));
        let fields = if self.is_json { &[][..] } else { &self.fields };
        sign(&SecretString::from(self.token.as_str()), &format!("{told}{}", self.full_query()), fields)
    }

    /// Byte for byte, so that no client makes another URL of the query.
    pub async fn send(&self, process: &Process) -> RawAnswer {
        self.send_to(&process.url().await).await.unwrap()
    }

    /// To this scheme, host and port, where perhaps nobody is.
    pub async fn send_to(&self, url: &str) -> std::io::Result<RawAnswer> {
        let body = self.body();
        let mut head =
            format!("POST {WEBHOOK}{} HTTP/1.1\r\nHost: {}\r\n", self.full_query(), &url["http://".len()..]);
        let content_type = if self.is_json { "application/json" } else { "application/x-www-form-urlencoded" };
        head = format!("{head}Content-Type: {content_type}\r\nConnection: close\r\n");
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| *name == "X-Twilio-Signature") {
            headers.push(("X-Twilio-Signature", self.right_signature(url)));
        }
        headers.push(("Content-Length", body.len().to_string()));
        for (name, value) in headers {
            head = format!("{head}{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        raw_to(url, format!("{head}{body}").as_bytes()).await
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct RawAnswer {
    /// 0 where there is none.
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub original_head: String,
    pub body: String,
}

impl RawAnswer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), original_head: head.to_owned(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The stable code of a problem; panics where it is none, or not sent as one.
    pub fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Sends `request` as it is and reads until the server closes the connection.
pub async fn raw(process: &Process, request: &[u8]) -> RawAnswer {
    raw_to(&process.url().await, request).await.unwrap()
}

async fn raw_to(url: &str, request: &[u8]) -> std::io::Result<RawAnswer> {
    let mut stream = TcpStream::connect(&url["http://".len()..]).await?;
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = super::within_patience("an answer", stream.read_to_end(&mut answer)).await;
    Ok(RawAnswer::parse(&String::from_utf8_lossy(&answer)))
}

/// A request with these headers (`Name: value` lines) and this body.
pub async fn ask(process: &Process, line: &str, headers: &str, body: &[u8]) -> RawAnswer {
    let url = process.url().await;
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        &url["http://".len()..],
        body.len()
    );
    let answer = raw(process, &[head.as_bytes(), body].concat()).await;
    let (method, target) = line.split_once(' ').unwrap();
    assert_described(method, target, answer.status);
    answer
}

/// With `Authorization: Bearer`, and JSON in and out.
pub async fn ask_json(process: &Process, line: &str, token: &str, body: &Value) -> RawAnswer {
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask(process, line, &format!("{authorization}Content-Type: application/json\r\n"), body.as_bytes()).await
}

pub static OPENAPI: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&callspool::http::openapi_document()).unwrap());

/// Every status that a route answers is in its description.
fn assert_described(method: &str, target: &str, status: u16) {
    let path = target.split('?').next().unwrap();
    let fits = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(&path).all(|(part, given)| part == given || part.starts_with('{'))
    };
    let paths = OPENAPI["paths"].as_object().unwrap();
    let described =
        paths.get(path).or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item));
    let Some(operation) = described.and_then(|item| item.get(method.to_lowercase().replace("head", "get"))) else {
        assert!([404, 405].contains(&status), "{method} {path}: {status}, and it is not described");
        return;
    };
    // A process without the role has no such route.
    let has = |status: u16| operation["responses"].get(status.to_string()).is_some();
    assert!(has(status) || status == 404, "{method} {path}: {status} is not described");
}
