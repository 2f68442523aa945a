//! What an attacker sends to the public routes: too much, too slowly, or nonsense. Nobody else notices.

use crate::support::{
    Database, Process, Provider, eventually,
    http::{Callback, RawAnswer, WEBHOOK, raw},
    process::Setup,
    within_patience,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const FORM: &str = "application/x-www-form-urlencoded";

async fn process() -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    (database, provider, process)
}

fn request(content_type: &str, length: usize, body: &str) -> String {
    format!(
        "POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

async fn is_well(process: &Process) {
    assert_eq!(process.get("/healthz").await.status(), 200);
    assert_eq!(Callback::completed(1).send(process).await.status, 202);
    assert!(!process.everything().contains("panic"), "{}", process.everything());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_its_limit_announced_or_not_and_its_content_type() {
    let (_database, _provider, process) = process().await;
    let refusal = |answer: &RawAnswer| (answer.status, answer.problem());
    let announced = raw(&process, request(FORM, 65_537, "").as_bytes()).await;
    assert_eq!(refusal(&announced), (413, "too_large".to_owned()));
    let chunk = "x".repeat(40_000);
    let chunks = format!("{:x}\r\n{chunk}\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n", chunk.len(), chunk.len());
    let head = request(FORM, 0, "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let unannounced = raw(&process, format!("{head}{chunks}").as_bytes()).await;
    assert_eq!(refusal(&unannounced), (413, "too_large".to_owned()));
    for content_type in ["text/plain", "multipart/form-data; boundary=x", ""] {
        let other = raw(&process, request(content_type, 2, "{}").as_bytes()).await;
        assert_eq!(refusal(&other), (415, "content_type".to_owned()), "{content_type}");
    }
    // In any case, and with a parameter, it is a form; the signature is missing then.
    let form =
        raw(&process, request("Application/X-WWW-Form-Urlencoded; charset=UTF-8", 3, "a=b").as_bytes()).await;
    assert_eq!(refusal(&form), (403, "signature".to_owned()));
    is_well(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_and_a_slow_body_are_cut_off_while_others_are_served() {
    let (_database, _provider, process) = process().await;
    let address = process.url().await["http://".len()..].to_owned();
    let mut headers = TcpStream::connect(&address).await.unwrap();
    headers.write_all(b"POST /webhooks/twilio/recording HTTP/1.1\r\nHost: x\r\nX-A: ").await.unwrap();
    let mut body = TcpStream::connect(&address).await.unwrap();
    body.write_all(request(FORM, 1_000, "RecordingSid=").as_bytes()).await.unwrap();
    is_well(&process).await;
    let end = |mut stream: TcpStream| async move {
        let mut answer = Vec::new();
        let _ = within_patience("the end of a slow connection", stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (headers, body) = tokio::join!(end(headers), end(body));
    assert!(headers.is_empty() || headers.contains(" 408 "), "{headers}");
    assert!(body.contains(" 408 ") && body.contains("too_slow"), "{body}");
    is_well(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_with_400_or_the_end_of_the_connection() {
    let (database, _provider, process) = process().await;
    let huge = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(5_000));
    let junk: Vec<Vec<u8>> = vec![
        vec![0; 10_000],
        vec![0xFF; 200_000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /webhooks/twilio/recording HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /webhooks/twilio/recording HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nxxxxx"
            .to_vec(),
        b"POST /webhooks/twilio/recording HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
            .to_vec(),
        huge.into_bytes(),
        many.into_bytes(),
    ];
    for bytes in junk {
        let address = process.url().await["http://".len()..].to_owned();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within_patience("an answer to junk", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status: u16 = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(400);
        assert!((400..500).contains(&status), "{answer}");
    }
    is_well(&process).await;
    let jobs = || async {
        let mut connection = database.connect().await;
        let jobs: i64 =
            sqlx::query_scalar("select count(*) from job_view").fetch_one(&mut connection).await.unwrap();
        (jobs == 1).then_some(())
    };
    eventually("the one job of the good callback", jobs).await;
}

/// A signed form whose values are hostile: only its own job could suffer.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_refused_and_never_break_a_log_line() {
    let (_database, _provider, process) = process().await;
    let evil = "CA1\n2026-01-01T00:00:00Z  INFO [ENQUEUE] forged\r\u{1b}[31m\u{202e}\u{0}";
    for name in ["CallSid", "RecordingSid", "RecordingUrl"] {
        let answer = Callback::completed(1).field(name, evil).send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{name}");
    }
    assert_eq!(Callback::completed(1).field("Extra", evil).send(&process).await.status, 202);
    let refused = process.line("the refusal", |line| line["message"].to_string().contains("webhook refused")).await;
    assert!(!refused.to_string().contains("forged"), "{refused}");
    assert!(!process.everything().contains("forged"));
}
