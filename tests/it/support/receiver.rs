//! The customer's system over real HTTP, which takes the completion webhook and answers as it is told.

use super::eventually;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::{
    collections::VecDeque,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// As a receiver checks it, with one secret (`whsec_…`).
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let right = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        self.signature.split(' ').any(|signature| signature == right)
    }
}

pub struct Receiver {
    base: String,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    told: Mutex<Vec<Told>>,
    answers: Mutex<VecDeque<Reply>>,
}

/// What the next request gets; 204 where nothing is said.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    /// With a `Location`.
    Redirect(String),
    /// Never.
    Silence,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::<Desk>::default();
        let data = web::Data::from(Arc::clone(&desk));
        thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).default_service(web::to(take));
                HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        Self { base, desk }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What the next requests get, in order.
    pub fn tell(&self, answers: impl IntoIterator<Item = Reply>) {
        self.desk.answers.lock().unwrap().extend(answers);
    }

    pub fn told(&self) -> Vec<Told> {
        self.desk.told.lock().unwrap().clone()
    }

    /// Waits until `count` requests came.
    pub async fn told_times(&self, count: usize) -> Vec<Told> {
        eventually(&format!("{count} announcements"), async || {
            let told = self.told();
            (told.len() >= count).then_some(told)
        })
        .await
    }
}

async fn take(desk: web::Data<Desk>, request: HttpRequest, body: String) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    desk.told.lock().unwrap().push(Told {
        path: request.uri().to_string(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
    });
    let answer = desk.answers.lock().unwrap().pop_front();
    match answer.unwrap_or(Reply::Status(204)) {
        Reply::Status(status) => HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish(),
        Reply::Redirect(to) => HttpResponse::Found().insert_header(("Location", to)).finish(),
        Reply::Silence => std::future::pending().await,
    }
}
