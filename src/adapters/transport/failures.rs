//! What went wrong, in the words of the log, and whose fault it is.

use super::{names::AddressRefused, retry_after::retry_after};
use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ids::AccountSid,
};
use reqwest::{Response, StatusCode};
use std::time::Duration;

/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Who was asked.
#[derive(Debug, Clone)]
pub(in crate::adapters) struct Asked {
    /// Whose credentials went along. `None` behind a redirect to elsewhere: what that host says is not about them.
    pub(in crate::adapters) account: Option<AccountSid>,
    pub(in crate::adapters) host: HoldKey,
}

impl Asked {
    /// An answer that is not the one that was asked for.
    pub(in crate::adapters) fn refused(&self, response: &Response) -> Failure {
        let status = response.status();
        let code = match status {
            StatusCode::NOT_FOUND => FailureCode::NotReady,
            StatusCode::GONE => FailureCode::Gone,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureCode::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => FailureCode::RateLimited,
            _ => FailureCode::HttpStatus,
        };
        let wait = retry_after(response.headers(), MAX_RETRY_AFTER);
        let failure = Failure::new(code, format!("the provider answered {}", status.as_u16()))
            .http_status(status.as_u16())
            .retry_after(wait);
        match (code, &self.account) {
            (FailureCode::Unauthorized, Some(account)) => failure.blame(HoldKey::account(account.as_str())),
            (FailureCode::RateLimited, Some(account)) => failure.blame(HoldKey::rate(account.as_str())),
            (FailureCode::RateLimited, None) => failure.blame(self.host.clone()),
            _ if status.is_server_error() => failure.blame(self.host.clone()),
            _ => failure,
        }
    }

    /// No answer, or one that ended too early.
    pub(in crate::adapters) fn broke(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        if let Some(refused) = AddressRefused::behind(&error) {
            return Failure::new(FailureCode::UrlRefused, refused.to_string());
        }
        if error.is_timeout() {
            return self.silent();
        }
        if error.is_body() || error.is_decode() {
            // The connection ended before the announced length, or before the last chunk.
            return broke_off();
        }
        let text = if error.is_connect() {
            "the provider cannot be reached"
        } else {
            "the connection to the provider broke"
        };
        Failure::new(FailureCode::Network, text).blame(self.host.clone())
    }

    pub(in crate::adapters) fn silent(&self) -> Failure {
        Failure::new(FailureCode::Timeout, "the provider took too long").blame(self.host.clone())
    }

    pub(in crate::adapters) fn slow(&self, least: u64) -> Failure {
        let text = format!("the recording came slower than {least} bytes a second");
        Failure::new(FailureCode::Timeout, text).blame(self.host.clone())
    }
}

pub(in crate::adapters) fn broke_off() -> Failure {
    Failure::new(FailureCode::Truncated, "the recording broke off before its end")
}

pub(in crate::adapters) fn too_large(max: u64) -> Failure {
    Failure::new(FailureCode::TooLarge, format!("the recording is larger than {max} bytes"))
}
