//! `POST /v1/jobs/bulk`: all or nothing, and an answer for each line.

use crate::support::{
    Database, Process,
    http::{RawAnswer, ask, raw},
    process::Setup,
    within_patience,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LINES: &str = "Content-Type: application/x-ndjson\r\n";

async fn process() -> (Database, Process) {
    process_with(|setup| setup).await
}

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Process) {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL_ROLES", "api");
    (database, change(setup).run().await)
}

fn line(number: u32) -> String {
    json!({ "business_id": number % 7 + 1, "call_sid": format!("CA{number}"), "recording_url": "/x" }).to_string()
}

async fn bulk(process: &Process, body: &str) -> RawAnswer {
    ask(process, "POST /v1/jobs/bulk", LINES, body.as_bytes()).await
}

/// The body without its transfer coding: whatever begins as an object.
fn answers(answer: &RawAnswer) -> Vec<Value> {
    let body = unchunked(&answer.body);
    body.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

async fn jobs(database: &Database) -> i64 {
    database.one("select count(*) from callspool.job").await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_has_its_answer_in_order_and_blank_ones_none() {
    let (database, process) = process().await;
    let body = format!("{}\n\n{}\r\n   \n{}\n{}", line(1), line(2), line(1), line(3));
    let answer = bulk(&process, &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.head.contains("content-type: application/x-ndjson"), "{answer:?}");
    let answers = answers(&answer);
    let told: Vec<_> = answers.iter().map(|a| (a["line"].as_i64().unwrap(), a["deduplicated"] == true)).collect();
    assert_eq!(told, [(1, false), (3, false), (5, true), (6, false)]);
    assert_eq!(answers[0]["id"], answers[2]["id"], "the same recording");
    let names: Vec<&str> = answers[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["line", "id", "state", "deduplicated"]);
    assert_eq!(jobs(&database).await, 3);
    process.event_number("ENQUEUE", 4).await;
    let other =
        ask(&process, "POST /v1/jobs/bulk", "Content-Type: application/jsonl\r\n", line(4).as_bytes()).await;
    assert_eq!(other.status, 202);
    let nothing = bulk(&process, "\n").await;
    assert_eq!((nothing.status, unchunked(&nothing.body).as_str()), (202, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fault_and_nothing_is_enqueued_and_each_is_told_by_its_line() {
    let (database, process) = process().await;
    let body = format!("{}\n{{\"business_id\":0,\"call_sid\":\"x\"}}\n{}\nnonsense\n", line(1), line(2));
    let answer = bulk(&process, &body).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"));
    let errors = answer.json()["errors"].clone();
    let told: Vec<_> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["line"].as_i64().unwrap(), e["field"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(2, "recording_url"), (2, "business_id"), (2, "call_sid"), (4, "body")], "{errors}");
    assert_eq!(answer.json()["more"], 0);

    let many = bulk(&process, &"{}\n".repeat(1_000)).await.json();
    assert_eq!((many["errors"].as_array().unwrap().len(), &many["more"]), (50, &json!(2_950)), "three each");
    let long = format!("{}\n{{\"call_sid\":\"{}\"}}\n", line(1), "x".repeat(70_000));
    let long = bulk(&process, &long).await.json();
    assert_eq!((&long["errors"][0]["line"], &long["errors"][0]["field"]), (&json!(2), &json!("line")), "{long}");
    assert_eq!(jobs(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_has_its_limits_of_size_lines_and_content_type() {
    let (database, process) = process_with(|setup| setup.var("CALLSPOOL__HTTP__BULK_LIMIT", "10000000")).await;
    for content_type in ["", "application/json", "text/plain"] {
        let header = format!("Content-Type: {content_type}\r\n");
        let answer = ask(&process, "POST /v1/jobs/bulk", &header, line(1).as_bytes()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (415, "content_type"), "{content_type}");
    }
    let head = format!("POST /v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{LINES}");
    let announced = raw(&process, format!("{head}Content-Length: 10000001\r\n\r\n").as_bytes()).await;
    assert_eq!((announced.status, announced.problem().as_str()), (413, "too_large"));
    let mut lines = String::new();
    for number in 0..=100_000 {
        lines.push_str(&line(number));
        lines.push('\n');
    }
    let many = bulk(&process, &lines).await;
    assert_eq!((many.status, many.problem().as_str()), (413, "too_many_lines"));
    assert_eq!(jobs(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_are_one_transaction() {
    let (database, process) =
        process_with(|setup| setup.var("CALLSPOOL__LOG__LEVEL", "info,callspool::http=warn")).await;
    let lines: Vec<String> = (0..100_000).map(line).collect();
    let answer = bulk(&process, &lines.join("\n")).await;
    assert_eq!(answer.status, 202);
    let answers = answers(&answer);
    assert_eq!((answers.len(), &answers[99_999]["line"]), (100_000, &json!(100_000)));
    let ids: Vec<i64> = answers.iter().map(|answer| answer["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted(), "jobs run in the order of their lines");
    let transactions: i64 = database.one("select count(distinct xmin::text) from callspool.job").await;
    assert_eq!((jobs(&database).await, transactions), (100_000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_before_the_end_has_enqueued_nothing() {
    let (database, process) = process().await;
    let address = process.url().await["http://".len()..].to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!("POST /v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\n{LINES}Content-Length: 100000\r\n\r\n");
    stream.write_all(format!("{head}{}\n{}\n", line(1), line(2)).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = within_patience("the end of the connection", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.contains(" 400 "), "{answer}");
    assert_eq!(jobs(&database).await, 0);
    assert_eq!(bulk(&process, &line(1)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_bulks_run_at_a_time_and_one_more_is_told_to_come_again() {
    let (_database, process) = process().await;
    let address = process.url().await["http://".len()..].to_owned();
    let head = format!("POST /v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\n{LINES}Content-Length: 9000000\r\n\r\n");
    // Much of it has come, so that the rest has time.
    let some = "\n".repeat(4_000_000);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("{head}{some}").as_bytes()).await.unwrap();
        open.push(stream);
    }
    let busy = crate::support::eventually("that both are under way", async || {
        let answer = bulk(&process, "\n").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(busy.problem(), "busy");
    assert!(busy.head.contains("retry-after: 10\r\n"), "{busy:?}");
    drop(open);
    crate::support::eventually("that their places are free", async || {
        (bulk(&process, "\n").await.status == 202).then_some(())
    })
    .await;
}
