//! Telnyx' recordings over HTTP.
//!
//! A recording's URL is its resource at the API. Each attempt asks for it anew, with the API key, because the URLs of
//! the media in the answer are pre-signed for a few minutes only; the media are asked for at their own host, without
//! the key.
//!
//! | file | what it holds |
//! |---|---|
//! | `api` | the resource, listings, and what a refusal means |
//! | `media` | the way to a pre-signed URL |

mod api;
mod media;

use super::transport::{Network, client};
use crate::domain::{
    account::Accounts,
    details::{Details, told_at},
    failure::{Failure, FailureCode},
    hold::{HoldKey, HoldKind},
    ids::{AccountSid, CallSid, InvalidId, RecordingSid, SidForm},
    media::{Form, Forms},
    ports::{Listed, ListedPage, Media, Order, Period, Provider},
    provider::{ProviderName, telnyx_channels, telnyx_recording, telnyx_url},
    recording_url::{ProviderBase, ProviderBases},
};
use api::{Api, DownloadUrls, Recording};
use async_trait::async_trait;
use chrono::SecondsFormat;
use media::{MediaDoor, Refusal};
use secrecy::SecretString;
use std::time::Duration;
use url::Url;

/// The largest page that Telnyx gives.
const PAGE: usize = 250;
/// How `Period::account` and the keys of holds name the account: Telnyx' URLs name none.
const ACCOUNT: &str = ProviderName::Telnyx.as_str();

#[derive(Debug, Clone)]
pub struct TelnyxConfig {
    pub base: ProviderBase,
    /// Without one no recording can be asked for: its jobs wait.
    pub api_key: Option<SecretString>,
    /// Where media may lie beside public https hosts; trusted as it is.
    pub media_base: Option<Url>,
    pub connect_timeout: Duration,
    /// Longest silence between two reads.
    pub read_timeout: Duration,
    /// The largest recording that is taken, in bytes.
    pub max_bytes: u64,
    /// Slower than this, over a whole window, ends in a timeout; 0: however slow.
    pub min_bytes_per_second: u64,
    pub throughput_window: Duration,
    /// How often one attempt goes on behind a cut.
    pub resumes: u32,
}

#[derive(Clone)]
pub struct Telnyx {
    base: ProviderBase,
    api: Api,
    media: MediaDoor,
}

impl Telnyx {
    /// The proxies of the environment are not used, and the key follows no redirect.
    pub fn new(config: TelnyxConfig) -> Result<Self, reqwest::Error> {
        let mut bases = ProviderBases::new(config.base.url().clone());
        if let Some(media) = config.media_base {
            bases = bases.with(media);
        }
        let network = Network {
            bases,
            accounts: Accounts::default(),
            connect_timeout: config.connect_timeout,
            read_timeout: config.read_timeout,
            max_bytes: config.max_bytes,
            min_bytes_per_second: config.min_bytes_per_second,
            throughput_window: config.throughput_window,
            resumes: config.resumes,
        };
        let api = Api {
            client: client(&network).build()?,
            base: config.base.url().clone(),
            key: config.api_key,
            patience: config.read_timeout,
        };
        let media = MediaDoor::new(network)?;
        Ok(Self { base: config.base, api, media })
    }

    /// Checked at the door; an application's SQL has another door.
    fn resource(&self, recording_url: &str) -> Result<Url, Failure> {
        let refused = |error: String| Failure::new(FailureCode::UrlRefused, error);
        let url = Url::parse(recording_url).map_err(|error| refused(error.to_string()))?;
        let id = telnyx_recording(&self.base, &url).map_err(|error| refused(error.to_string()))?;
        Ok(telnyx_url(&self.base, &id))
    }
}

#[async_trait]
impl Provider for Telnyx {
    async fn fetch(&self, order: &Order) -> Result<Media, Failure> {
        let resource = self.resource(&order.recording_url)?;
        let mut is_second = false;
        loop {
            let recording = self.api.recording(resource.clone()).await?;
            let (form, url) = choose(recording, &order.forms)?;
            match self.media.open(&url, form).await {
                Ok(media) => return Ok(media),
                // It has run out on the way here, or the clocks differ: one fresh one, then the next attempt's.
                Err(Refusal::Expired(_)) if !is_second => is_second = true,
                Err(Refusal::Expired(failure) | Refusal::Other(failure)) => return Err(failure),
            }
        }
    }

    /// Where the media will lie is not known before the resource was asked for.
    fn depends(&self, _: &str) -> Vec<HoldKey> {
        vec![HoldKey::account(ACCOUNT), HoldKey::rate(ACCOUNT), HoldKey::host_of(self.base.url())]
    }

    /// By the time at which they were saved: a recording that begins before the period and is saved in it is listed.
    async fn list(&self, period: &Period, page: Option<&str>) -> Result<ListedPage, Failure> {
        let number = page.unwrap_or("1");
        let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let query = [
            ("filter[created_at][gte]", time(period.since)),
            ("filter[created_at][lte]", time(period.until)),
            ("page[number]", number.to_owned()),
            ("page[size]", PAGE.to_string()),
        ];
        Ok(self.page(number, self.api.page(&query).await?))
    }

    async fn delete(&self, recording_url: &str) -> Result<(), Failure> {
        self.api.delete(self.resource(recording_url)?).await
    }

    async fn probe(&self, key: &HoldKey) -> Result<(), Failure> {
        if key.kind() == HoldKind::Host && *key != HoldKey::host_of(self.base.url()) {
            return self.media.probe(key).await;
        }
        let answer = self.api.page(&[("page[size]", "1".to_owned())]).await;
        match (key.kind(), answer) {
            (_, Ok(_)) => Ok(()),
            // It answers; what it thinks of the key is another hold's.
            (HoldKind::Host, Err(failure)) if failure.http_status.is_some_and(|status| status < 500) => Ok(()),
            (_, Err(failure)) => Err(failure),
        }
    }
}

impl Telnyx {
    /// What an answer comes to, whoever brought it: for those who try what becomes of any bytes (`fuzz/`).
    #[doc(hidden)]
    pub fn answered(&self, asked: &str, answer: &[u8]) -> Result<ListedPage, Failure> {
        Ok(self.page(asked, api::read(answer)?))
    }

    /// The same of one recording: which of its forms is taken, and where it lies.
    #[doc(hidden)]
    pub fn chosen(answer: &[u8], forms: &Forms) -> Result<(Form, Url), Failure> {
        choose(api::read::<api::Resource>(answer)?.data, forms)
    }

    /// The next page is the one behind the page that was asked for, whichever the answer says that it is; so a list ends.
    fn page(&self, asked: &str, page: api::Page) -> ListedPage {
        let number: u32 = asked.parse().unwrap_or(1);
        let has_more = number < page.meta.total_pages && !page.data.is_empty();
        let next = has_more.then(|| (number + 1).to_string());
        let recordings = page.data.into_iter().filter_map(|listed| self.listed(listed)).collect();
        ListedPage { recordings, next }
    }

    /// `None`: it has no ids that we could call it by.
    fn listed(&self, listed: serde_json::Value) -> Option<Listed> {
        let recording: Recording = serde_json::from_value(listed).unwrap_or_default();
        let Ok((call_sid, recording_sid)) = recording.ids() else {
            tracing::warn!("Telnyx lists a recording whose ids are no UUIDs: it is passed over");
            return None;
        };
        let details = Details {
            channels: recording.channels.as_deref().and_then(telnyx_channels),
            duration_s: recording.duration_millis.and_then(|ms| u32::try_from(ms / 1000).ok()),
            started_at: recording.started_at.as_deref().and_then(|time| time.parse().ok()).and_then(told_at),
            ..Details::default()
        };
        Some(Listed {
            account_sid: AccountSid::telnyx(),
            call_sid,
            recording_url: telnyx_url(&self.base, &recording_sid).into(),
            recording_sid,
            details,
            is_there: recording.is_completed(),
        })
    }
}

impl Recording {
    fn ids(&self) -> Result<(CallSid, RecordingSid), InvalidId> {
        let provider = Some(ProviderName::Telnyx);
        let (call, own) = (self.call_session_id.as_deref(), self.id.as_deref());
        let call = CallSid::parse(call.unwrap_or_default(), SidForm::Strict)?.fits(provider)?;
        Ok((call, RecordingSid::parse(own.unwrap_or_default(), SidForm::Strict)?.fits(provider)?))
    }

    fn is_completed(&self) -> bool {
        self.status.as_deref().is_none_or(|status| status == "completed")
    }
}

/// The first of the wanted forms that there is. A file with two channels stands for both spellings of its format: Telnyx
/// mixes nothing. Where none of the wanted forms is there, the one that is is taken: a recording in another form is better
/// than none, and the form is kept with it.
fn choose(recording: Recording, forms: &Forms) -> Result<(Form, Url), Failure> {
    match recording.status.as_deref() {
        Some("deleted") => {
            return Err(Failure::new(FailureCode::Gone, "Telnyx says that the recording is deleted"));
        }
        _ if recording.is_completed() => {}
        Some(status) => {
            let text = format!("Telnyx says that the recording is {status}");
            return Err(Failure::new(FailureCode::NotReady, text));
        }
        None => {}
    }
    let is_dual = recording.channels.as_deref().and_then(telnyx_channels) == Some(2);
    let DownloadUrls { mp3, wav } = recording.download_urls.unwrap_or_default();
    let (mp3, wav) = (mp3.filter(|url| !url.is_empty()), wav.filter(|url| !url.is_empty()));
    let url_of = |form: Form| match form {
        Form::Mp3 => mp3.as_ref(),
        Form::Wav => wav.as_ref(),
        Form::Mp3Dual => mp3.as_ref().filter(|_| is_dual),
        Form::WavDual => wav.as_ref().filter(|_| is_dual),
        Form::Original => wav.as_ref().or(mp3.as_ref()),
    };
    let there = |form: Form| url_of(form).map(|url| (form, url));
    let found = forms.iter().find_map(there).or_else(|| [Form::Mp3, Form::Wav].into_iter().find_map(there));
    let not_ready = || Failure::new(FailureCode::NotReady, "Telnyx has no download URL of the recording yet");
    let (form, url) = found.ok_or_else(not_ready)?;
    let refused = |_| Failure::new(FailureCode::UrlRefused, "Telnyx' download URL is none");
    Ok((form, Url::parse(url).map_err(refused)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(channels: &str, mp3: bool, wav: bool) -> Recording {
        let url = |there: bool, name: &str| there.then(|| format!("https://media.example/{name}"));
        Recording {
            channels: Some(channels.to_owned()),
            status: Some("completed".to_owned()),
            download_urls: Some(DownloadUrls { mp3: url(mp3, "mp3"), wav: url(wav, "wav") }),
            ..Recording::default()
        }
    }

    fn chosen(recording: Recording, forms: &[&str]) -> Result<String, FailureCode> {
        let (form, url) = choose(recording, &Forms::parse(forms).unwrap()).map_err(|failure| failure.code)?;
        Ok(format!("{form} {}", url.path()))
    }

    #[test]
    fn the_first_wanted_form_that_there_is_is_taken() {
        for (channels, mp3, wav, forms, want) in [
            ("single", true, false, &["mp3"][..], "mp3 /mp3"),
            ("single", true, true, &["wav-dual", "wav", "mp3"], "wav /wav"),
            ("dual", true, true, &["wav-dual", "wav", "mp3"], "wav-dual /wav"),
            ("dual", true, false, &["wav-dual", "mp3-dual"], "mp3-dual /mp3"),
            ("dual", true, false, &["mp3"], "mp3 /mp3"),
            ("single", true, false, &["original"], "original /mp3"),
            ("single", true, true, &["original"], "original /wav"),
            // None of the wanted ones is there.
            ("single", false, true, &["mp3"], "wav /wav"),
            ("single", true, false, &["wav-dual", "wav"], "mp3 /mp3"),
        ] {
            assert_eq!(chosen(recording(channels, mp3, wav), forms).as_deref(), Ok(want), "{channels} {forms:?}");
        }
    }

    #[test]
    fn a_recording_that_is_not_whole_is_not_ready_and_a_deleted_one_is_gone() {
        assert_eq!(chosen(recording("single", false, false), &["mp3"]), Err(FailureCode::NotReady));
        let with = |status: &str| Recording { status: Some(status.to_owned()), ..recording("single", true, true) };
        for (status, code) in [("deleted", FailureCode::Gone), ("partial", FailureCode::NotReady)] {
            assert_eq!(chosen(with(status), &["mp3"]), Err(code), "{status}");
        }
        assert!(chosen(Recording { status: None, ..recording("single", true, true) }, &["mp3"]).is_ok());
        let odd = DownloadUrls { mp3: Some("/relative".to_owned()), wav: None };
        let odd = Recording { download_urls: Some(odd), ..Recording::default() };
        assert_eq!(chosen(odd, &["mp3"]), Err(FailureCode::UrlRefused));
    }
}
