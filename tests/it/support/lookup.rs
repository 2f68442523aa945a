//! A customer's lookup service over real HTTP.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

/// Knows nobody until it is told.
pub struct Lookup {
    url: String,
    desk: Arc<Desk>,
}

type Instead = (u16, Vec<(&'static str, String)>, String);

#[derive(Default)]
struct Desk {
    known: Mutex<HashMap<String, i64>>,
    /// Instead of what is known: a status, headers and a body.
    instead: Mutex<Option<Instead>>,
    asked: Mutex<Vec<Question>>,
}

/// One question as it came.
#[derive(Debug, Clone)]
pub struct Question {
    pub query: HashMap<String, String>,
    pub authorization: Option<String>,
}

impl Lookup {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/whose", listener.local_addr().unwrap());
        let desk = Arc::new(Desk::default());
        let data = web::Data::from(Arc::clone(&desk));
        thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).default_service(web::to(answer));
                HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        Self { url, desk }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Call `CA{number}` is this business's.
    pub fn knows(&self, number: u32, business_id: i64) {
        self.desk.known.lock().unwrap().insert(format!("CA{number}"), business_id);
    }

    pub fn answers(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        *self.desk.instead.lock().unwrap() = Some((status, headers, body.to_owned()));
    }

    pub fn answers_what_it_knows(&self) {
        *self.desk.instead.lock().unwrap() = None;
    }

    pub fn asked(&self) -> Vec<Question> {
        self.desk.asked.lock().unwrap().clone()
    }
}

async fn answer(desk: web::Data<Desk>, request: HttpRequest) -> HttpResponse {
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let call = query["call_sid"].clone();
    desk.asked.lock().unwrap().push(Question { query, authorization });
    if let Some((status, headers, body)) = desk.instead.lock().unwrap().clone() {
        let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
        for header in headers {
            answer.insert_header(header);
        }
        return answer.body(body);
    }
    match desk.known.lock().unwrap().get(&call) {
        Some(business_id) => HttpResponse::Ok().json(serde_json::json!({ "business_id": business_id })),
        None => HttpResponse::NotFound().finish(),
    }
}
