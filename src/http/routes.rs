//! Which routes there are, for which roles, and what each takes and answers. There is no other list: the router and
//! `/openapi.json` are made from this one.

use super::{
    HttpDeps,
    access::{Caller, session},
    audit, bulk, businesses,
    dashboard::{events, pages},
    fleet, follow_ups, health, holds, jobs, metrics, openapi,
    operate::{self, Changed, ChangedMany, Selection},
    operation::{FORM, JSON, JSON_LINES, Operation, delete, get, patch, post},
    recordings, telnyx, transcripts, webhooks,
};
use crate::domain::{
    access::Scope::{Enqueue, Operate, Read},
    business::{BusinessChange, BusinessView},
    enqueue_request::EnqueueRequest,
    explain::Explanation,
    hold::HoldKey,
    ids::{BusinessId, CallSid, JobId, RecordingSid},
    job::{Enqueued, JobState, JobView},
    overview::Overview,
    ports::FleetStatus,
    transcript::TranscriptView,
};
use actix_web::web::to;
use serde_json::Value;

/// Those that this process serves.
pub(super) fn served(deps: &HttpDeps) -> Vec<Operation> {
    let mut operations = every_role();
    if deps.api {
        operations.extend(api());
    }
    if deps.webhooks {
        operations.extend(from_the_provider());
    }
    operations
}

pub(super) fn all() -> Vec<Operation> {
    every_role().into_iter().chain(api()).chain(from_the_provider()).collect()
}

fn every_role() -> Vec<Operation> {
    vec![
        get("/healthz", || to(health::alive), "The process answers.").answers::<health::Alive>(200, "It does."),
        get("/readyz", || to(health::ready), "The process can do what it is for.")
            .answers::<health::Ready>(200, "It can.")
            .answers::<health::Ready>(503, "It cannot, for these reasons."),
        get("/metrics", || to(metrics::page), "What Prometheus collects.")
            .answers_in::<String>(200, "text/plain", "This process, and the fleet.")
            .answers_empty(500, "The page could not be made."),
    ]
}

fn from_the_provider() -> Vec<Operation> {
    vec![
        post("/webhooks/twilio/recording", || to(webhooks::recording), "Twilio's RecordingStatusCallback, signed.")
            .query::<BusinessId>(
                "business_id",
                "whose recording it is, where neither its account nor the lookup service says it",
            )
            .query::<Checksum>("bodySHA256", "of a JSON body, which is signed by it")
            .takes::<webhooks::Callback>(&[FORM, JSON])
            .answers::<Enqueued>(202, "Committed.")
            .answers_empty(204, "The recording is not completed; nothing is to be done.")
            .refuses(403)
            .asks_the_database(),
        post("/webhooks/telnyx/recording", || to(telnyx::recording), "Telnyx' events of recordings, signed.")
            .query::<BusinessId>("business_id", "whose recording it is, where `telnyx.business_id` does not say it")
            .takes::<telnyx::Delivery>(&[JSON])
            .answers::<Enqueued>(200, "Committed; without a body where the event brings no recording.")
            .refuses(403)
            .asks_the_database(),
    ]
}

fn api() -> Vec<Operation> {
    [pages(), login(), of_jobs(), of_businesses(), of_recordings(), of_holds(), of_the_fleet()]
        .into_iter()
        .flatten()
        .collect()
}

fn pages() -> Vec<Operation> {
    vec![
        get("/", || to(pages::index), "The dashboard.")
            .counted()
            .answers_in::<String>(200, "text/html", "Its page.")
            .answers_empty(304, "The browser has it."),
        get("/assets/{name}", || to(pages::asset), "A file of the dashboard.")
            .part::<String>("name", "of the file")
            .counted()
            .answers_in::<String>(200, "text/*", "A script, a style.")
            .answers_empty(304, "The browser has it.")
            .refuses(404),
    ]
}

fn login() -> Vec<Operation> {
    vec![
        post("/session", || to(session::log_in), "Turns a token into a cookie that no script can read.")
            .counted()
            .takes::<session::Login>(&[JSON, FORM])
            .answers::<Caller>(200, "Logged in, as this token.")
            .answers_empty(303, "Logged in; to the dashboard, for a page without scripts.")
            .refuses(401)
            .refuses(403),
        get("/session", || to(session::show), "Whose the token or cookie is.")
            .counted()
            .answers::<Caller>(200, "Of the token with this name.")
            .refuses(401)
            .refuses(403),
        delete("/session", || to(session::log_out), "Takes the cookie away.")
            .counted()
            .answers_empty(204, "Logged out.")
            .refuses(403),
        get("/openapi.json", || to(openapi::show), "This document.")
            .counted()
            .answers::<Value>(200, "OpenAPI 3.1."),
    ]
}

fn of_jobs() -> Vec<Operation> {
    const ID: &str = "as enqueueing answered it";
    vec![
        post("/v1/jobs", || to(jobs::enqueue), "Enqueues one recording.")
            .needs(Enqueue)
            .takes::<EnqueueRequest>(&[JSON])
            .answers::<Enqueued>(202, "Committed, or there already."),
        post("/v1/jobs/bulk", || to(bulk::enqueue), "Enqueues up to 100,000 recordings, all or none of them.")
            .needs(Enqueue)
            .takes::<EnqueueRequest>(&JSON_LINES)
            .answers_in::<bulk::Answer>(202, JSON_LINES[0], "Committed: a line for each line that is not blank."),
        get("/v1/jobs", || to(jobs::list), "Jobs, newest first.")
            .needs(Read)
            .query::<JobState>("state", "only those in this state")
            .query::<BusinessId>("business_id", "only those of this business")
            .query::<CallSid>("call_sid", "only those of this call")
            .query::<PageLimit>("limit", "how many; 50 where it is missing")
            .query::<JobId>("after", "`next` of the page before")
            .answers::<jobs::JobsPage>(200, "A page of them."),
        post("/v1/jobs/retry", || to(operate::retry_many), "Tries up to 1,000 jobs again.")
            .needs(Operate)
            .takes::<Selection>(&[JSON])
            .answers::<ChangedMany>(200, "What became of each."),
        post("/v1/jobs/cancel", || to(operate::cancel_many), "Cancels up to 1,000 jobs.")
            .needs(Operate)
            .takes::<Selection>(&[JSON])
            .answers::<ChangedMany>(200, "What became of each."),
        get("/v1/jobs/{id}", || to(jobs::show), "One job, live or finished.")
            .needs(Read)
            .part::<JobId>("id", ID)
            .answers::<JobView>(200, "The job.")
            .refuses(404),
        get("/v1/jobs/{id}/attempts", || to(jobs::attempts), "The attempts of a job that failed.")
            .needs(Read)
            .part::<JobId>("id", ID)
            .answers::<jobs::Attempts>(200, "In their order.")
            .refuses(404),
        get("/v1/jobs/{id}/explain", || to(jobs::explain), "Why a job does not run now.")
            .needs(Read)
            .part::<JobId>("id", ID)
            .answers::<Explanation>(200, "The reason, and what to do about it.")
            .refuses(404),
        post(
            "/v1/jobs/{id}/retry",
            || to(operate::retry),
            "Tries a job again that is dead, cancelled or scheduled.",
        )
        .needs(Operate)
        .part::<JobId>("id", ID)
        .answers::<Changed>(200, "It is ready.")
        .refuses(404)
        .refuses(409),
        post("/v1/jobs/{id}/cancel", || to(operate::cancel), "Cancels a job that is not over.")
            .needs(Operate)
            .part::<JobId>("id", ID)
            .answers::<Changed>(200, "It is cancelled.")
            .answers::<Changed>(202, "It runs, and was told to stop.")
            .refuses(404)
            .refuses(409),
    ]
}

fn of_businesses() -> Vec<Operation> {
    const ID: &str = "the number of the business";
    vec![
        get("/v1/businesses", || to(businesses::list), "Businesses, by number.")
            .needs(Read)
            .query::<PageLimit>("limit", "how many; 50 where it is missing")
            .query::<BusinessId>("after", "`next` of the page before")
            .answers::<businesses::BusinessesPage>(200, "A page of them."),
        get("/v1/businesses/{id}", || to(businesses::show), "One business.")
            .needs(Read)
            .part::<BusinessId>("id", ID)
            .answers::<BusinessView>(200, "The business.")
            .refuses(404),
        patch(
            "/v1/businesses/{id}",
            || to(businesses::change),
            "Changes a business: its slots, and what is done with its recordings.",
        )
        .needs(Operate)
        .part::<BusinessId>("id", ID)
        .takes::<BusinessChange>(&[JSON])
        .answers::<BusinessView>(200, "As it is now."),
        get("/v1/businesses/{id}/actions", || to(businesses::actions), "What operators did to a business.")
            .needs(Read)
            .part::<BusinessId>("id", ID)
            .query::<PageLimit>("limit", "how many; 50 where it is missing")
            .answers::<businesses::Actions>(200, "The newest first."),
    ]
}

fn of_recordings() -> Vec<Operation> {
    const CALL: &str = "of the call";
    const WHICH: [&str; 2] = ["whose, where several have the call", "which, where the call has several"];
    let which = |operation: Operation| {
        operation
            .needs(Read)
            .part::<CallSid>("call_sid", CALL)
            .query::<BusinessId>("business_id", WHICH[0])
            .query::<RecordingSid>("recording_sid", WHICH[1])
            .answers::<Explanation>(202, "On its way; `Retry-After` says when to ask again.")
            .refuses(404)
            .refuses(409)
            .refuses(410)
    };
    let changes = |operation: Operation| {
        operation
            .needs(Operate)
            .part::<CallSid>("call_sid", CALL)
            .query::<BusinessId>("business_id", WHICH[0])
            .query::<RecordingSid>("recording_sid", WHICH[1])
            .refuses(404)
            .refuses(409)
            .refuses(410)
    };
    vec![
        changes(delete("/v1/recordings/{call_sid}", || to(recordings::delete), "Deletes a recording for good."))
            .answers::<Explanation>(202, "It is on its way; cancel its job first.")
            .answers_empty(204, "Nobody plays it any more; its file follows at once."),
        changes(patch("/v1/recordings/{call_sid}", || to(recordings::hold), "Sets or lifts a legal hold."))
            .takes::<recordings::HoldChange>(&[JSON])
            .answers::<Explanation>(202, "On its way; `Retry-After` says when to ask again.")
            .answers::<recordings::Shown>(200, "As it is now."),
        which(post(
            "/v1/recordings/{call_sid}/link",
            || to(recordings::make),
            "Makes a link that plays it, for a time.",
        ))
        .takes::<recordings::LinkRequest>(&[JSON])
        .answers::<recordings::Link>(200, "For whoever has it."),
        which(get("/v1/recordings/{call_sid}", || to(recordings::show), "What is stored of a call."))
            .answers::<recordings::Shown>(200, "The recording."),
        which(get("/v1/recordings/{call_sid}/media", || to(recordings::media), "The audio, or a part of it."))
            .answers_in::<Media>(200, "audio/*", "All of it.")
            .answers_in::<Media>(206, "audio/*", "The part that `Range` asks for.")
            .answers_empty(304, "The listener has it.")
            .query::<i64>("expires", "of a link: when it ends, in seconds since 1970")
            .query::<String>("by", "of a link: whose token made it")
            .query::<String>("signature", "of a link, which needs no token")
            .refuses(412)
            .refuses(416)
            .refuses(500),
        which(get("/v1/recordings/{call_sid}/transcript", || to(recordings::transcript), "What is said in it."))
            .answers::<TranscriptView>(200, "Its words."),
        get("/v1/transcripts", || to(transcripts::search), "Transcripts with these words, the newest first.")
            .needs(Read)
            .needed_query::<Words>("q", "words, \"a phrase\", one or another, -without")
            .query::<BusinessId>("business_id", "only those of this business")
            .query::<SearchLimit>("limit", "how many; 20 where it is missing")
            .query::<SearchPlace>("after", "`next` of the page before")
            .answers::<transcripts::TranscriptsPage>(200, "A page of them."),
    ]
}

fn of_holds() -> Vec<Operation> {
    vec![
        get("/v1/holds", || to(holds::list), "What many jobs wait for together.")
            .needs(Read)
            .answers::<holds::Holds>(200, "The oldest first."),
        post("/v1/holds/{key}/lift", || to(holds::lift), "Ends a hold, and lets its jobs try.")
            .needs(Operate)
            .part::<HoldKey>("key", "as the list has it, such as `account:AC…`")
            .answers::<holds::Lifted>(200, "Whether there was one."),
    ]
}

fn of_the_fleet() -> Vec<Operation> {
    vec![
        get("/v1/status", || to(fleet::status), "What the command `status` prints.")
            .needs(Read)
            .answers::<FleetStatus>(200, "Instances, actors, slots, backlog, schema."),
        get("/v1/overview", || to(fleet::overview), "What the dashboard's first page shows.")
            .needs(Read)
            .query::<fleet::Minutes>("minutes", "of the pulse; 60 where it is missing")
            .answers::<Overview>(200, "Stalls, backlog, busy businesses, pulse."),
        get("/v1/events", || to(events::events), "Server-sent events: `overview` every two seconds.")
            .needs(Read)
            .answers_in::<String>(200, "text/event-stream", "A stream that does not end."),
        get("/v1/audit", || to(audit::list), "Who played, changed and deleted what, the newest first.")
            .needs(Read)
            .query::<BusinessId>("business_id", "only what concerns this business")
            .query::<CallSid>("call_sid", "only what concerns this call")
            .query::<String>("operator", "only what this one did")
            .query::<String>("action", "only this, of those that there are")
            .query::<PageLimit>("limit", "how many; 50 where it is missing")
            .query::<i64>("after", "`next` of the page before")
            .answers::<audit::AuditPage>(200, "A page of it."),
        get(
            "/v1/follow-ups",
            || to(follow_ups::list),
            "What is still to be done after jobs and deletions, the newest first.",
        )
        .needs(Read)
        .query::<bool>("dead", "only those that were given up, or only the others")
        .query::<PageLimit>("limit", "how many; 50 where it is missing")
        .query::<i64>("after", "`next` of the page before")
        .answers::<follow_ups::FollowUpsPage>(200, "A page of them."),
        post("/v1/follow-ups/{id}/retry", || to(follow_ups::retry), "Tries one again that was given up.")
            .needs(Operate)
            .part::<i64>("id", "of the follow-up")
            .answers_empty(204, "It is due now.")
            .refuses(404),
        get("/v1/migrations", || to(fleet::migrations), "Every migration that is known or applied.")
            .needs(Read)
            .answers::<fleet::Migrations>(200, "In the order in which they run."),
    ]
}

/// Bytes of a file.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "stands for its schema")]
struct Media(Vec<u8>);

/// SHA-256 as Twilio writes it.
#[derive(utoipa::ToSchema)]
#[schema(pattern = "^[0-9a-f]{64}$")]
#[expect(dead_code, reason = "stands for its schema")]
struct Checksum(String);

/// What is looked for.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\x00]*\w[^\x00]*$")]
#[expect(dead_code, reason = "stands for its schema")]
struct Words(String);

/// Where a page of transcripts ends.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]+-[0-9]+$")]
#[expect(dead_code, reason = "stands for its schema")]
struct SearchPlace(String);

/// Transcripts of one page.
#[derive(utoipa::ToSchema)]
#[schema(minimum = 1, maximum = 100, default = 20)]
#[expect(dead_code, reason = "stands for its schema")]
struct SearchLimit(u16);

/// Rows of one page.
#[derive(utoipa::ToSchema)]
#[schema(minimum = 1, maximum = 1_000, default = 50)]
#[expect(dead_code, reason = "stands for its schema")]
struct PageLimit(u16);
