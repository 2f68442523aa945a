//! What an account has, page by page (Twilio documentation, "Recordings resource": read multiple recordings; "Twilio's
//! response": paging).

use super::{
    Twilio,
    api::{RecordingResource, RecordingsPage, Resource},
};
use crate::domain::{
    details::{Details, told_at},
    failure::{Failure, FailureCode},
    ids::{AccountSid, CallSid, RecordingSid},
    ports::{Listed, ListedPage, Period},
};
use chrono::{DateTime, SecondsFormat, Utc};
use url::{Position, Url};

const PAGE_SIZE: &str = "100";
/// The longest URL of a page, in bytes.
const MAX_PAGE_URL: usize = 4_096;

impl Twilio {
    pub(super) async fn listed(&self, period: &Period, page: Option<&str>) -> Result<ListedPage, Failure> {
        let asked = self.asked(period, page)?;
        match self.read::<RecordingsPage>(&asked.url, &asked.account).await? {
            Resource::Is(page) => self.page(&asked, page),
            Resource::IsNot => Err(odd("there is no such account at the provider").http_status(404)),
            Resource::Odd => Err(unreadable()),
        }
    }

    /// What an answer comes to, whoever brought it: for those who try what becomes of any bytes (`fuzz/`).
    #[doc(hidden)]
    pub fn answered(&self, period: &Period, page: Option<&str>, answer: &[u8]) -> Result<ListedPage, Failure> {
        let asked = self.asked(period, page)?;
        self.page(&asked, serde_json::from_slice(answer).map_err(|_| unreadable())?)
    }

    fn asked(&self, period: &Period, page: Option<&str>) -> Result<Asked, Failure> {
        let account = AccountSid::parse(&period.account, self.config.sid_form);
        let account = account.map_err(|error| Failure::new(FailureCode::UrlRefused, error.to_string()))?;
        let first = self.first_page(&account, period);
        let url = match page {
            None => first.clone(),
            Some(page) => next_page(&first, page)?,
        };
        Ok(Asked { account, first, url })
    }

    fn page(&self, asked: &Asked, page: RecordingsPage) -> Result<ListedPage, Failure> {
        let next = match page.next_page_uri.filter(|uri| !uri.is_empty()) {
            None => None,
            Some(uri) => {
                let next = next_page(&asked.first, &uri)?;
                // A page that names itself would never end. What is kept is what will be asked for, escaped.
                (next != asked.url).then(|| next[Position::BeforePath..].to_owned())
            }
        };
        let listed = page.recordings.into_iter().filter_map(|row| self.listed_one(&asked.account, row));
        Ok(ListedPage { recordings: listed.collect(), next })
    }

    fn first_page(&self, account: &AccountSid, period: &Period) -> Url {
        let mut url = self.resource(account, &["Recordings.json"]);
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        // The names end in < and >; with the sign of equality they read as the comparison that they are.
        url.query_pairs_mut()
            .append_pair("DateCreated>", &time(period.since))
            .append_pair("DateCreated<", &time(period.until))
            .append_pair("PageSize", PAGE_SIZE);
        url
    }

    /// `None`: no recording of a call, as one of a conference, one that cannot be read, or one that is still made: its job
    /// could die before it is there, and would then stand for it. A later round finds it, since rounds overlap.
    fn listed_one(&self, account: &AccountSid, row: serde_json::Value) -> Option<Listed> {
        let form = self.config.sid_form;
        let row: RecordingResource = serde_json::from_value(row)
            .inspect_err(|_| tracing::warn!(account = %account, "a listed recording cannot be read"))
            .ok()?;
        if matches!(row.status.as_deref(), Some("in-progress" | "paused" | "stopped" | "processing")) {
            return None;
        }
        let duration_s = row.duration_s();
        let recording_sid = RecordingSid::parse(&row.sid?, form).ok()?;
        let url = self.resource(account, &["Recordings", recording_sid.as_str()]);
        Some(Listed {
            account_sid: row
                .account_sid
                .and_then(|sid| AccountSid::parse(&sid, form).ok())
                .unwrap_or(account.clone()),
            call_sid: CallSid::parse(&row.call_sid?, form).ok()?,
            recording_sid,
            recording_url: self.config.bases.recording_url(url.as_str()).ok()?.into(),
            details: Details {
                parent_call_sid: None,
                duration_s,
                channels: row.channels,
                started_at: row
                    .start_time
                    .and_then(|time| DateTime::parse_from_rfc2822(&time).ok())
                    .and_then(told_at),
            },
            is_there: !matches!(row.status.as_deref(), Some("absent" | "failed" | "deleted")),
        })
    }
}

/// One page of an account's list.
struct Asked {
    account: AccountSid,
    /// The list's first page.
    first: Url,
    url: Url,
}

/// Of the same list, and so at the same base: the credentials go along.
fn next_page(first: &Url, uri: &str) -> Result<Url, Failure> {
    let url = first.join(uri).ok();
    let is_same = |url: &Url| {
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_short = url.as_str().len() <= MAX_PAGE_URL;
        url.origin() == first.origin() && url.path() == first.path() && is_plain && is_short
    };
    url.filter(is_same).ok_or_else(|| {
        Failure::new(FailureCode::UrlRefused, "the next page is not of the same list at the provider")
    })
}

fn unreadable() -> Failure {
    odd("the provider's list of recordings cannot be read")
}

fn odd(text: &str) -> Failure {
    Failure::new(FailureCode::HttpStatus, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_page_is_of_the_same_list() {
        let first =
            Url::parse("https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings.json?PageSize=100").unwrap();
        let path = "/2010-04-01/Accounts/AC1/Recordings.json?PageSize=100&Page=1&PageToken=PARE1";
        assert_eq!(next_page(&first, path).unwrap().as_str(), format!("https://api.twilio.com{path}"));
        assert!(next_page(&first, &format!("https://api.twilio.com{path}")).is_ok());
        for wrong in [
            "https://evil.example/2010-04-01/Accounts/AC1/Recordings.json?Page=1",
            "//evil.example/2010-04-01/Accounts/AC1/Recordings.json?Page=1",
            "http://api.twilio.com/2010-04-01/Accounts/AC1/Recordings.json?Page=1",
            "https://me@api.twilio.com/2010-04-01/Accounts/AC1/Recordings.json?Page=1",
            "/2010-04-01/Accounts/AC2/Recordings.json?Page=1",
            "/2010-04-01/Accounts/AC1/Calls.json",
            &format!("{path}{}", "x".repeat(MAX_PAGE_URL)),
        ] {
            assert_eq!(next_page(&first, wrong).unwrap_err().code, FailureCode::UrlRefused, "{wrong}");
        }
    }
}
