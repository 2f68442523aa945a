//! Transcripts are found by their words.

use crate::{
    queue_cost::pages,
    recordings::{enqueue, get},
    support::{
        Database, Process,
        transcriber::{Transcriber, Words},
    },
    transcript::{process, until},
};
use serde_json::{Value, json};
use sqlx::Executor;

async fn spoken(process: &Process, transcriber: &Transcriber, business: i64, number: u32, text: &'static str) {
    transcriber.tell(number, [Words::Spoken(text)]);
    let more = json!({ "business_id": business, "job_type": "full", "call_sid": format!("CA{number}"),
                       "recording_sid": format!("RE{number}") });
    let id = enqueue(process, number, more).await;
    until(process, id, "done").await;
}

/// The calls that are found, in their order.
async fn found(process: &Process, query: &str) -> Vec<String> {
    let answer = get(process, &format!("/v1/transcripts?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = answer.json()["transcripts"].as_array().unwrap().clone();
    list.iter().map(|it| it["call_sid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_in_any_language_within_one_business_or_all() {
    let (_database, _provider, transcriber, process) = process().await;
    for (business, number, text) in [
        (1, 1, "I want a refund for last week."),
        (1, 2, "The refund is not here. B2 is the number."),
        (2, 3, "A REFUND again, and <b>bold</b> «words» & more."),
        (2, 4, "שלום, אני רוצה החזר כספי"),
    ] {
        spoken(&process, &transcriber, business, number, text).await;
    }
    for (query, expected) in [
        ("q=refund", &["CA3", "CA2", "CA1"][..]),
        ("q=Refund+week", &["CA1"]),
        ("q=refund+-week", &["CA3", "CA2"]),
        ("q=week+or+again", &["CA3", "CA1"]),
        ("q=%22last+week%22", &["CA1"]),
        ("q=%22week+last%22", &[]),
        ("q=refund&business_id=1", &["CA2", "CA1"]),
        ("q=refund&business_id=3", &[]),
        ("q=%D7%94%D7%97%D7%96%D7%A8", &["CA4"]),
        // The index knows a business by a word that nobody can ask for.
        ("q=B1", &[]),
        ("q=b2", &["CA2"]),
        ("q=refund&limit=1", &["CA3"]),
    ] {
        assert_eq!(found(&process, query).await, expected, "{query}");
    }
    let it = get(&process, "/v1/transcripts?q=bold").await.json()["transcripts"][0].clone();
    let snippet = it["snippet"].as_str().unwrap();
    // Marks of the text's own are none; what looks like markup may be left away.
    assert!(snippet.contains("«bold»") && snippet.contains("\"words\""), "{snippet}");
    assert_eq!(
        (&it["business_id"], &it["recording_sid"], &it["language"]),
        (&json!(2), &json!("RE3"), &json!("english"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_the_last_one_ended() {
    let (_database, _provider, transcriber, process) = process().await;
    for number in 1..=5 {
        spoken(&process, &transcriber, 1, number, "the same words").await;
    }
    let (mut calls, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&process, &format!("/v1/transcripts?q=words&limit=2{after}")).await.json();
        for it in page["transcripts"].as_array().unwrap() {
            calls.push(it["call_sid"].as_str().unwrap().to_owned());
        }
        let Value::String(next) = &page["next"] else { break };
        after = format!("&after={next}");
    }
    assert_eq!(calls, ["CA5", "CA4", "CA3", "CA2", "CA1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_makes_no_sense_is_refused_by_its_field() {
    let (_database, _provider, _transcriber, process) = process().await;
    for (query, field) in [
        ("", "q"),
        ("?q=", "q"),
        ("?q=%00a", "q"),
        ("?q=...", "q"),
        ("?q=a&limit=0", "limit"),
        ("?q=a&limit=101", "limit"),
        ("?q=a&after=yesterday", "after"),
        ("?q=a&business_id=x", "business_id"),
        ("?q=a&words=b", "words"),
    ] {
        let refused = get(&process, &format!("/v1/transcripts{query}")).await;
        assert_eq!(refused.problem(), (422, "invalid_field".to_owned()), "{query}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{query}");
    }
    // Operators only, and quotation marks that do not close, are no error.
    for query in ["?q=a+or+or", "?q=%22a", "?q=-a", "?q=a:*%26!(b)"] {
        assert_eq!(get(&process, &format!("/v1/transcripts{query}")).await.status, 200, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_searches_and_shows() {
    let (_database, _provider, transcriber, process) = process().await;
    spoken(&process, &transcriber, 1, 1, "I want a refund. Right now.").await;
    let setup = process.setup();
    let said = setup.say(&["transcripts", "search", "refund", "now"]).await;
    assert!(said.code == 0 && said.out.contains("CA1") && said.out.contains("«refund»"), "{said:?}");
    let said = setup.say(&["transcripts", "search", "refund", "--business-id", "2", "--json"]).await;
    assert_eq!((said.code, said.json()), (0, json!([])));
    let said = setup.say(&["transcripts", "search", "!!"]).await;
    assert!(said.code == 2 && said.err.contains("words to look for"), "{said:?}");
    let said = setup.say(&["transcripts", "show", "CA1"]).await;
    assert!(said.code == 0 && said.out.contains("1.5 s Right now."), "{said:?}");
    let said = setup.say(&["transcripts", "show", "CA1", "--json"]).await;
    assert_eq!(said.json()["text"], "I want a refund. Right now.");
    let said = setup.say(&["transcripts", "show", "CA2"]).await;
    assert!(said.code == 1 && said.err.contains("there is no transcript of call CA2"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_little_however_many_have_the_words() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let many = "insert into transcript (business_id, recording_key, job_id, call_sid, text, model, made_at)
                select n % 20 + 1, 'RE' || n, n, 'CA' || n, 'hello everybody, this is w' || n % 5000, 'm',
                       now() - n * interval '1 s'
                  from generate_series(1, 20000) n";
    connection.execute(many).await.unwrap();
    connection.execute("vacuum analyze transcript").await.unwrap();
    for (what, call, most) in [
        ("a rare word", "transcript_search('w77', null, null, null, 20)", 500),
        ("a word of all", "transcript_search('hello', null, null, null, 20)", 500),
        ("a rare word of one business", "transcript_search('w77', 18, null, null, 20)", 500),
        ("a word of all in one business", "transcript_search('hello', 7, null, null, 20)", 800),
        ("a later page", "transcript_search('hello', null, now() - interval '5000 s', 5000, 20)", 400),
    ] {
        let read = pages(&mut connection, &format!("select * from {call}")).await;
        assert!(read <= most, "{what}: {read} pages, at most {most}");
    }
}
