//! The API's resources beside the media, as Twilio's OpenAPI description names their fields.

use super::{Place, Twilio};
use crate::adapters::{right::right, transport::Answer};
use crate::domain::{failure::Failure, ids::AccountSid};
use bytes::BytesMut;
use futures_util::StreamExt;
use reqwest::{StatusCode, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

const VERSION: &str = "2010-04-01";
/// The largest resource that is read, in bytes: a page of a thousand recordings has about one megabyte.
const MAX_RESOURCE: usize = 8 * 1024 * 1024;

/// Every field may be missing: what is needed is checked where it is used. One that is odd is as good as missing, where the
/// recording can be named without it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RecordingResource {
    pub(super) sid: Option<String>,
    #[serde(deserialize_with = "right")]
    pub(super) account_sid: Option<String>,
    pub(super) call_sid: Option<String>,
    #[serde(deserialize_with = "right")]
    pub(super) status: Option<String>,
    /// In seconds, in a text; `-1` while it is not known. A number will do.
    pub(super) duration: serde_json::Value,
    #[serde(deserialize_with = "right")]
    pub(super) channels: Option<u8>,
    /// RFC 2822.
    #[serde(deserialize_with = "right")]
    pub(super) start_time: Option<String>,
}

impl RecordingResource {
    pub(super) fn duration_s(&self) -> Option<u32> {
        match &self.duration {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_u64().and_then(|seconds| seconds.try_into().ok()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallResource {
    pub(super) parent_call_sid: Option<String>,
}

/// A page, its recordings not read yet: one that is odd does not spoil the others.
#[derive(Debug, Deserialize)]
pub(super) struct RecordingsPage {
    pub(super) recordings: Vec<serde_json::Value>,
    #[serde(default)]
    pub(super) next_page_uri: Option<String>,
}

pub(super) enum Resource<T> {
    Is(T),
    /// 404.
    IsNot,
    /// Something else than the API describes.
    Odd,
}

impl Twilio {
    /// `…/Accounts/<sid>/` and these, each escaped.
    pub(super) fn resource(&self, sid: &AccountSid, segments: &[&str]) -> Url {
        let mut all = vec!["Accounts", sid.as_str()];
        all.extend(segments);
        self.below_base(Some(sid), &all)
    }

    pub(super) fn account_resource(&self, sid: &AccountSid) -> Url {
        self.below_base(Some(sid), &["Accounts", &format!("{sid}.json")])
    }

    fn below_base(&self, sid: Option<&AccountSid>, segments: &[&str]) -> Url {
        let mut url = self.config.bases.of_account(sid).url().clone();
        let has_version = url.path().trim_end_matches('/').ends_with(VERSION);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            if !has_version {
                path.push(VERSION);
            }
            path.extend(segments);
        }
        url
    }

    /// The resource of the account that a recording is of, wherever the API begins there.
    pub(super) fn beside(place: &Place, account: &AccountSid, segments: &[&str]) -> Url {
        let mut url = place.url.clone();
        let kept: Vec<String> = url.path_segments().map_or_else(Vec::new, |path| {
            path.take_while(|segment| *segment != "Accounts").map(ToOwned::to_owned).collect()
        });
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(kept).extend(["Accounts", account.as_str()]).extend(segments);
        }
        url
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        url: &Url,
        account: &AccountSid,
    ) -> Result<Resource<T>, Failure> {
        let answer = self.transport.get(url, Some(account), &HeaderMap::new()).await?;
        match answer.response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Resource::IsNot),
            _ => return Err(answer.asked.refused(&answer.response)),
        }
        let Answer { response, asked } = answer;
        let whole = async {
            let (mut text, mut chunks) = (BytesMut::new(), response.bytes_stream());
            while let Some(chunk) = chunks.next().await {
                text.extend_from_slice(&chunk.map_err(|error| asked.broke(error))?);
                if text.len() > MAX_RESOURCE {
                    return Ok(None);
                }
            }
            Ok(serde_json::from_slice(&text).ok())
        };
        let whole = tokio::time::timeout(self.transport.patience, whole).await;
        let whole: Option<T> = whole.unwrap_or_else(|_| Err(asked.silent()))?;
        Ok(whole.map_or(Resource::Odd, Resource::Is))
    }
}
