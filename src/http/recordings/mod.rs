//! `/v1/recordings/{call_sid}`: what is stored of a call, and its media.
//!
//! | file | what it holds |
//! |---|---|
//! | `look_up` | which recording is meant, and what is answered where it is not stored |
//! | `media` | the file itself: headers, HEAD, parts |
//! | `transcript` | what is said in it |
//! | `link` | links that play one recording without a token, for a time |
//! | `custody` | legal holds and deletion |
//! | `wanted` | what a request's conditions and its `Range` come to |
//! | `body` | bytes from the I/O runtime to a server's thread |
//!
//! Nothing is downloaded and nothing is enqueued here: who asks for a recording that is on its way is told to ask again
//! (incidents 6 and 15). A connection of the database is held for the lookup only, however slowly a client reads.

mod body;
mod custody;
mod link;
mod look_up;
mod media;
mod transcript;
mod wanted;

pub(super) use custody::HoldChange;
pub use custody::{delete, hold};
pub(super) use link::{Link, LinkRequest, holds, plays};
pub use link::{Links, make};
pub use media::media;
pub use transcript::transcript;
pub(super) use wanted::part;

use super::{HttpDeps, problem::Problem};
use crate::domain::{
    access::Scope,
    ids::RecordingSid,
    recording::{Lookup, RecordingView},
    transcript::TranscriptNote,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// The recording, and what else the call has.
#[derive(Serialize, ToSchema)]
pub(super) struct Shown {
    #[serde(flatten)]
    recording: Box<RecordingView>,
    /// null: it is not transcribed (yet).
    transcript: Option<TranscriptNote>,
    others: Vec<RecordingSid>,
}

impl HttpDeps {
    async fn shown(&self, recording: Box<RecordingView>, others: Vec<RecordingSid>) -> Result<Shown, Problem> {
        let transcript = self.transcript_of(&recording).await?.map(TranscriptNote::from);
        Ok(Shown { recording, transcript, others })
    }
}

/// `GET /v1/recordings/{call_sid}`: what is stored, without the media.
pub async fn show(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    call_sid: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let filter = look_up::filter(&request, &call_sid, deps.sid_form)?;
    match deps.look_up(&filter).await? {
        Lookup::Stored { recording, others } => Ok(HttpResponse::Ok().json(deps.shown(recording, others).await?)),
        other => deps.not_stored(&filter, other).await,
    }
}
