//! A recording that is not there: not yet, no more, or at the parent of its call. Asked only behind a 404, and no more
//! than the recording's resource, the call's, the parent's recordings, and the forms of one of these.

use super::{
    Place, Twilio,
    api::{CallResource, RecordingResource, RecordingsPage, Resource},
    media::Tried,
};
use crate::domain::{
    failure::{Failure, FailureCode},
    ids::{AccountSid, CallSid, RecordingSid},
    media::Form,
    ports::{Media, Order},
    recording_url::sids,
};

/// Recordings of one call that are looked through.
const PARENTS_PAGE: &str = "PageSize=50";

impl Twilio {
    /// `failure`: the media's 404, which means "not ready" unless the provider says otherwise.
    pub(super) async fn missing(&self, order: &Order, place: &Place, failure: Failure) -> Result<Media, Failure> {
        let (Some(account), Some(recording)) = sids(&place.url, self.config.sid_form) else { return Err(failure) };
        let name = format!("{recording}.json");
        let url = Self::beside(place, &account, &["Recordings", &name]);
        match self.read::<RecordingResource>(&url, &account).await? {
            Resource::Is(resource) => Err(match resource.status.as_deref() {
                Some(status @ ("absent" | "failed" | "deleted")) => {
                    let text = format!("the provider says that the recording is {status}");
                    Failure::new(FailureCode::Gone, text).http_status(404)
                }
                _ => failure,
            }),
            Resource::Odd => Err(failure),
            Resource::IsNot => match self.of_parent(order, place, &account).await? {
                Some(media) => Ok(media),
                None => Err(failure),
            },
        }
    }

    /// A leg without a recording of its own is heard in its parent's.
    async fn of_parent(
        &self,
        order: &Order,
        place: &Place,
        account: &AccountSid,
    ) -> Result<Option<Media>, Failure> {
        let Some(parent) = self.parent(order, place, account).await? else { return Ok(None) };
        let mut url = Self::beside(place, account, &["Calls", parent.as_str(), "Recordings.json"]);
        url.set_query(Some(PARENTS_PAGE));
        let Resource::Is(page) = self.read::<RecordingsPage>(&url, account).await? else { return Ok(None) };
        let completed = |value| {
            let recording: RecordingResource = serde_json::from_value(value).ok()?;
            let is_completed = recording.status.as_deref() == Some("completed");
            RecordingSid::parse(&recording.sid.filter(|_| is_completed)?, self.config.sid_form).ok()
        };
        let Some(recording) = page.recordings.into_iter().find_map(completed) else { return Ok(None) };
        let url = Self::beside(place, account, &["Recordings", recording.as_str()]);
        let place = Place { url, account: place.account.clone() };
        let forms: Vec<Form> = order.forms.iter().collect();
        match self.first_of(&place, &forms).await? {
            Tried::Media(media) => Ok(Some(media)),
            Tried::Unfit(failure) => Err(failure),
            Tried::Missing(_) => Ok(None),
        }
    }

    async fn parent(&self, order: &Order, place: &Place, account: &AccountSid) -> Result<Option<CallSid>, Failure> {
        let parent = if let Some(parent) = &order.details.parent_call_sid {
            Some(parent.clone())
        } else {
            let name = format!("{}.json", order.call_sid);
            let url = Self::beside(place, account, &["Calls", &name]);
            let Resource::Is(call) = self.read::<CallResource>(&url, account).await? else { return Ok(None) };
            call.parent_call_sid.and_then(|sid| CallSid::parse(&sid, self.config.sid_form).ok())
        };
        Ok(parent.filter(|parent| *parent != order.call_sid))
    }
}
