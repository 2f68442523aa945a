//! A recording in the first wanted form that there is.

use super::{Place, Twilio};
use crate::domain::{
    failure::{Failure, FailureCode},
    media::Form,
    ports::{Media, Order},
};
use reqwest::{StatusCode, header::HeaderMap};
use url::Url;

/// What came of asking for the forms in turn.
pub(super) enum Tried {
    Media(Media),
    /// There is a recording, but in none of them.
    Unfit(Failure),
    /// Each was answered with 404.
    Missing(Failure),
}

impl Twilio {
    pub(super) async fn media(&self, order: &Order) -> Result<Media, Failure> {
        let place = self.place(&order.recording_url)?;
        let mut forms: Vec<Form> = order.forms.iter().collect();
        // A mono recording has no second channel to ask for.
        if order.details.channels == Some(1) && forms.iter().any(|form| !is_dual(*form)) {
            forms.retain(|form| !is_dual(*form));
        }
        match self.first_of(&place, &forms).await? {
            Tried::Media(media) => Ok(media),
            Tried::Unfit(failure) => Err(failure),
            Tried::Missing(failure) => self.missing(order, &place, failure).await,
        }
    }

    /// Fails at once with whatever another form would not cure.
    pub(super) async fn first_of(&self, place: &Place, forms: &[Form]) -> Result<Tried, Failure> {
        let (mut missing, mut unfit) = (None, None);
        for form in forms {
            let url = url_of(&place.url, *form);
            let answer = self.transport.get(&url, place.account.as_ref(), &HeaderMap::new()).await?;
            let refused = || answer.asked.refused(&answer.response);
            match answer.response.status() {
                StatusCode::OK => {
                    return self.transport.media(answer, url, place.account.clone(), *form).map(Tried::Media);
                }
                StatusCode::NOT_FOUND => missing = Some(refused()),
                // The form does not exist, or not for this recording, as both channels of a mono one.
                StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                    unfit = Some(refused());
                }
                _ => return Err(refused()),
            }
        }
        let none = || Failure::new(FailureCode::NotReady, "no form of the recording is wanted");
        Ok(match (missing, unfit) {
            (Some(failure), _) => Tried::Missing(failure),
            (None, unfit) => Tried::Unfit(unfit.unwrap_or_else(none)),
        })
    }
}

fn is_dual(form: Form) -> bool {
    matches!(form, Form::Mp3Dual | Form::WavDual)
}

fn url_of(recording: &Url, form: Form) -> Url {
    let mut url = recording.clone();
    let extension = match form {
        Form::Mp3 | Form::Mp3Dual => ".mp3",
        Form::Wav | Form::WavDual => ".wav",
        Form::Original => "",
    };
    url.set_path(&format!("{}{extension}", recording.path()));
    if is_dual(form) {
        url.set_query(Some("RequestedChannels=2"));
    }
    url
}
