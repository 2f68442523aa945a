//! What callers of the API send beside jobs: what is taken keeps its bounds; what is refused is told in texts that are fit for
//! a log and not much longer than what came.

use callspool::{
    domain::{
        business::{RETENTION_DAYS, SLOTS, WEIGHTS},
        completion::CompletionRules,
        enqueue_request::FieldFault,
        ids::SidForm,
    },
    http::tried,
};

/// The most that a refusal may be longer than what it refuses.
const MORE: usize = 32 << 10;

/// The first byte says which of them it is.
pub fn run(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    match which % 4 {
        0 => query(body),
        1 => business(body),
        2 => tried::selection(body, SidForm::Short).into_iter().for_each(|read| told(body, read)),
        _ => {
            let holds = tried::link_holds(body);
            assert!(holds.as_ref().map_or(true, |seconds| (1..=604_800).contains(seconds)));
            told(body, holds.map(|_| ()));
        }
    }
}

fn query(text: &[u8]) {
    let Ok(query) = std::str::from_utf8(text) else { return };
    let Some(request) = tried::request(&format!("/v1/jobs?{query}"), b"") else { return };
    match tried::jobs_query(&request, SidForm::Short) {
        Ok(filter) => assert!((1..=1_000).contains(&filter.limit)),
        Err(problem) => {
            assert!(problem.len() <= 4 * text.len() + MORE, "{} bytes for {}", problem.len(), text.len());
            assert!(!problem.contains(char::is_control), "{problem}");
        }
    }
}

fn business(body: &[u8]) {
    let read = tried::business_change(body, &CompletionRules { trusted: None, signs: true });
    if let Ok(change) = &read {
        assert!(change.max_slots.is_none_or(|slots| SLOTS.contains(&slots)));
        assert!(change.weight.is_none_or(|weight| WEIGHTS.contains(&weight)));
        assert!(change.retention_days.flatten().is_none_or(|days| RETENTION_DAYS.contains(&days)));
        let url = change.completion_url.as_ref().and_then(Option::as_deref);
        assert!(url.is_none_or(|url| url.to_ascii_lowercase().starts_with("https:")), "{url:?}");
    }
    told(body, read.map(|_| ()));
}

fn told(body: &[u8], read: Result<(), Vec<FieldFault>>) {
    let Err(faults) = read else { return };
    let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(!text.is_empty() && !text.iter().any(|fault| fault.contains(char::is_control)), "{text:?}");
    let length: usize = text.iter().map(String::len).sum();
    assert!(length <= 4 * body.len() + MORE, "{length} bytes for {}", body.len());
}
