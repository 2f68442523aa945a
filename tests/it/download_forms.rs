//! Which of the wanted forms comes, and what a recording that is not there is.

use crate::support::{
    Answer, Provider,
    provider::{mp3, recording},
    twilio::{Setup, path},
};
use bytes::Bytes;
use callspool::domain::{
    details::Details,
    failure::FailureCode,
    ids::{CallSid, SidForm},
    media::Form,
};
use serde_json::json;

const ACCOUNT: &str = "/2010-04-01/Accounts/AC1";

fn typed(status: u16, content_type: &str, body: Bytes) -> Answer {
    Answer::Status(status, vec![("Content-Type", content_type.to_owned())], body)
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_asked_for_in_order_until_one_is_there() {
    let (provider, base) = (Provider::start(), path(1));
    let all = ["wav-dual", "mp3-dual", "wav", "mp3", "original"];
    let urls = [
        format!("{base}.wav?RequestedChannels=2"),
        format!("{base}.mp3?RequestedChannels=2"),
        format!("{base}.wav"),
        format!("{base}.mp3"),
        base,
    ];
    for (url, status) in urls.iter().zip([400, 415, 404, 406]) {
        provider.tell_at(url, [Answer::status(status)]);
    }
    provider.tell_at(&urls[4], [typed(200, "Audio/X-WAV; charset=binary", recording(1))]);
    let setup = Setup::new(provider.base()).forms(&all);
    let media = setup.media(1).await.unwrap();
    assert_eq!((media.form, media.content_type.as_deref()), (Form::Original, Some("audio/x-wav")));
    assert_eq!((media.length, media.http_status), (Some(10_000), 200));
    assert_eq!(provider.paths(), urls);
    let asked = provider.asked_all();
    assert!(asked.iter().all(|asked| asked.headers["accept-encoding"] == "identity"), "lengths count the bytes");
    // A first form that is there is the only one that is asked for.
    let media = Setup::new(provider.base()).forms(&["wav-dual", "mp3"]).media(2).await.unwrap();
    assert_eq!((media.form, provider.paths().len()), (Form::WavDual, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_channel_is_not_asked_for_where_the_provider_said_mono() {
    let provider = Provider::start();
    let mono = || Details { channels: Some(1), ..Details::default() };
    let media = Setup::new(provider.base()).forms(&["wav-dual", "mp3"]).details(mono()).media(1).await.unwrap();
    assert_eq!((media.form, provider.paths()), (Form::Mp3, vec![format!("{}.mp3", path(1))]));
    // Nobody wants another form: it is asked for, and the provider says what it says.
    provider.tell(2, [Answer::status(400)]);
    let only = Setup::new(provider.base()).forms(&["wav-dual"]).details(mono());
    let failure = only.media(2).await.unwrap_err();
    assert_eq!((failure.code, failure.http_status), (FailureCode::HttpStatus, Some(400)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_form_would_not_cure_ends_the_attempt_at_once() {
    let provider = Provider::start();
    for (number, status) in (1..).zip([401, 410, 429, 500]) {
        provider.tell(number, [Answer::status(status)]);
        let failure = Setup::new(provider.base()).forms(&["wav", "mp3"]).fetch(number).await.unwrap_err();
        assert_eq!(failure.http_status, Some(status));
    }
    assert_eq!(provider.paths().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_sent_encoded_is_refused_and_an_announced_length_is_kept() {
    let provider = Provider::start();
    let gzip = vec![("Content-Encoding", "gzip".to_owned())];
    provider.tell(1, [Answer::Status(200, gzip, recording(1))]);
    let failure = Setup::new(provider.base()).fetch(1).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::BadAudio, "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recordings_resource_says_what_a_404_means() {
    let provider = Provider::start();
    for (number, (status, code)) in (1..).zip([
        ("processing", FailureCode::NotReady),
        ("in-progress", FailureCode::NotReady),
        ("paused", FailureCode::NotReady),
        ("completed", FailureCode::NotReady),
        ("something new", FailureCode::NotReady),
        ("absent", FailureCode::Gone),
        ("failed", FailureCode::Gone),
        ("deleted", FailureCode::Gone),
    ]) {
        provider.tell(number, [Answer::status(404)]);
        let resource = json!({ "sid": format!("RE{number}"), "status": status, "duration": "-1", "channels": 1 });
        provider.tell_json(&format!("{}.json", path(number)), &resource);
        let failure = Setup::new(provider.base()).forms(&["wav", "mp3"]).fetch(number).await.unwrap_err();
        assert_eq!((failure.code, failure.blame), (code, None), "{status}");
    }
    assert_eq!(provider.paths().len(), 8 * 3, "two forms and one question more, each time");
    // A resource that is gone, refused or no resource.
    for (number, (answer, code)) in (20..).zip([
        (Answer::status(410), FailureCode::Gone),
        (Answer::status(401), FailureCode::Unauthorized),
        (Answer::status(429), FailureCode::RateLimited),
        (Answer::status(503), FailureCode::HttpStatus),
        (Answer::Status(200, Vec::new(), Bytes::from_static(b"<html>")), FailureCode::NotReady),
        (Answer::Status(200, Vec::new(), Bytes::from_static(b"{\"status\":7}")), FailureCode::NotReady),
        (Answer::Cut(recording(1), 100), FailureCode::Truncated),
    ]) {
        provider.tell(number, [Answer::status(404)]);
        provider.tell_at(&format!("{}.json", path(number)), [answer]);
        let failure = Setup::new(provider.base()).fetch(number).await.unwrap_err();
        assert_eq!(failure.code, code, "RE{number}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_without_a_recording_is_heard_in_its_parents() {
    let provider = Provider::start();
    provider.tell(1, [Answer::status(404)]);
    provider.tell_json(&format!("{ACCOUNT}/Calls/CA1.json"), &json!({ "sid": "CA1", "parent_call_sid": "CA9" }));
    let recordings = json!({ "recordings": [
        { "sid": "RE6", "status": "processing" },
        { "sid": "../../secret", "status": "completed" },
        { "sid": "RE7", "status": "completed" },
        { "sid": "RE8", "status": "completed" },
    ]});
    let parents = format!("{ACCOUNT}/Calls/CA9/Recordings.json?PageSize=50");
    provider.tell_json(&parents, &recordings);
    provider.tell(7, [Answer::Media(mp3(7, 9_000))]);
    assert_eq!(Setup::new(provider.base()).fetch(1).await.unwrap(), mp3(7, 9_000));
    let expected = [
        format!("{}.mp3", path(1)),
        format!("{}.json", path(1)),
        format!("{ACCOUNT}/Calls/CA1.json"),
        parents.clone(),
        format!("{}.mp3", path(7)),
    ];
    assert_eq!(provider.paths(), expected);
    assert!(provider.asked_all().iter().all(|asked| asked.authorization.is_some()));
    // Where the callback named the parent, the call is not asked for.
    let named = Details { parent_call_sid: CallSid::parse("CA9", SidForm::Short).ok(), ..Details::default() };
    assert_eq!(Setup::new(provider.base()).details(named).fetch(1).await.unwrap(), mp3(7, 9_000));
    assert_eq!(provider.paths().len(), 5 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_nowhere_is_not_ready_and_the_questions_are_few() {
    let provider = Provider::start();
    provider.tell(1, [Answer::status(404)]);
    // The call is its own parent, as far as it says.
    provider.tell_json(&format!("{ACCOUNT}/Calls/CA1.json"), &json!({ "parent_call_sid": "CA1" }));
    let setup = || Setup::new(provider.base()).forms(&["wav", "mp3"]);
    assert_eq!(setup().fetch(1).await.unwrap_err().code, FailureCode::NotReady);
    assert_eq!(provider.paths().len(), 4);
    // A parent without a recording, and one whose recording is not there either.
    for recordings in
        [json!({ "recordings": [] }), json!({ "recordings": [{ "sid": "RE1", "status": "completed" }] })]
    {
        provider.tell_json(&format!("{ACCOUNT}/Calls/CA1.json"), &json!({ "parent_call_sid": "CA9" }));
        provider.tell_json(&format!("{ACCOUNT}/Calls/CA9/Recordings.json?PageSize=50"), &recordings);
        assert_eq!(setup().fetch(1).await.unwrap_err().code, FailureCode::NotReady);
    }
    assert_eq!(provider.paths().len(), 4 + 5 + 7);
}
