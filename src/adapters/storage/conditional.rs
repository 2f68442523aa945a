//! The condition of the request by which a large file is published.
//!
//! `object_store` knows conditions for files that are sent in one request, and for a copy to a new name. The services
//! know more: S3 keeps `If-None-Match` and `If-Match` when a multipart upload is completed (AWS, "Conditional writes"),
//! Azure when a list of blocks is put ("Specifying conditional headers"), Google `x-goog-if-generation-match` when an
//! object is copied ("Request preconditions"). So each large upload has a client of its own, which adds the header of
//! its condition to that one request and passes on all others. Credentials and connections are those of all.

use async_trait::async_trait;
use object_store::{
    ClientOptions, UpdateVersion,
    azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
        ReqwestConnector,
    },
};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH},
};
use std::sync::{Arc, OnceLock};

/// Connections that all uploads share.
pub(super) type SharedClient = Arc<OnceLock<HttpClient>>;

/// The request that publishes.
#[derive(Debug, Clone)]
pub(super) enum Publishing {
    /// S3: the completion of a multipart upload.
    Completion,
    /// Azure: the list of blocks. Its signature by the account's key covers the condition.
    BlockList { account: String, credentials: AzureCredentialProvider },
    /// Google: the copy from where the file was written aside.
    Copy,
}

impl Publishing {
    fn is(&self, request: &HttpRequest) -> bool {
        let query = request.uri().query().unwrap_or_default();
        let has = |wanted: &str| query.split('&').any(|pair| pair.starts_with(wanted));
        match self {
            Self::Completion => *request.method() == Method::POST && has("uploadId="),
            Self::BlockList { .. } => *request.method() == Method::PUT && has("comp=blocklist"),
            Self::Copy => *request.method() == Method::PUT && request.headers().contains_key("x-goog-copy-source"),
        }
    }

    /// Nothing may stand there, or only this version. `None`: the service did not say which version it is.
    fn condition(&self, seen: Option<&UpdateVersion>) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match (self, seen) {
            (Self::Copy, None) => (GENERATION_MATCH, "0"),
            (Self::Copy, Some(seen)) => (GENERATION_MATCH, seen.version.as_deref()?),
            (_, None) => (IF_NONE_MATCH, "*"),
            (_, Some(seen)) => (IF_MATCH, seen.e_tag.as_deref()?),
        };
        HeaderValue::from_str(value).ok().map(|value| (name, value))
    }

    /// Signs anew what was signed without the condition. (AWS signs no such header, and a bearer's token no header.)
    async fn sign(&self, request: &mut HttpRequest) -> object_store::Result<()> {
        let Self::BlockList { account, credentials } = self else { return Ok(()) };
        let credential = credentials.get_credential().await?;
        if matches!(*credential, AzureCredential::AccessKey(_)) {
            request.headers_mut().remove(AUTHORIZATION);
            AzureAuthorizer::new(&credential, account).try_authorize(request)?;
        }
        Ok(())
    }
}

const GENERATION_MATCH: HeaderName = HeaderName::from_static("x-goog-if-generation-match");

/// Makes the client of one upload.
#[derive(Debug)]
pub(super) struct Conditional {
    client: SharedClient,
    publishing: Publishing,
    condition: (HeaderName, HeaderValue),
}

impl Conditional {
    /// `None`: there is no condition by which `seen` could be told from another version.
    pub(super) fn new(client: &SharedClient, publishing: Publishing, seen: Option<&UpdateVersion>) -> Option<Self> {
        let condition = publishing.condition(seen)?;
        Some(Self { client: Arc::clone(client), publishing, condition })
    }
}

impl HttpConnector for Conditional {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = if let Some(client) = self.client.get() {
            client.clone()
        } else {
            let client = ReqwestConnector::default().connect(options)?;
            self.client.get_or_init(|| client).clone()
        };
        let (publishing, condition) = (self.publishing.clone(), self.condition.clone());
        Ok(HttpClient::new(ConditionalService { inner, publishing, condition }))
    }
}

#[derive(Debug)]
struct ConditionalService {
    inner: HttpClient,
    publishing: Publishing,
    condition: (HeaderName, HeaderValue),
}

#[async_trait]
impl HttpService for ConditionalService {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.publishing.is(&request) {
            let (name, value) = self.condition.clone();
            request.headers_mut().insert(name, value);
            let signed = self.publishing.sign(&mut request).await;
            signed.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        }
        self.inner.execute(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(e_tag: Option<&str>, version: Option<&str>) -> UpdateVersion {
        UpdateVersion { e_tag: e_tag.map(ToOwned::to_owned), version: version.map(ToOwned::to_owned) }
    }

    #[test]
    fn a_condition_is_told_in_the_services_own_words() {
        let told = |publishing: Publishing, seen: Option<&UpdateVersion>| {
            publishing
                .condition(seen)
                .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        };
        let seen = version(Some("\"abc\""), Some("17"));
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(told(Publishing::Completion, None), pair("if-none-match", "*"));
        assert_eq!(told(Publishing::Completion, Some(&seen)), pair("if-match", "\"abc\""));
        assert_eq!(told(Publishing::Copy, None), pair("x-goog-if-generation-match", "0"));
        assert_eq!(told(Publishing::Copy, Some(&seen)), pair("x-goog-if-generation-match", "17"));
        // What cannot be told is no condition, and nothing may be published without one.
        assert_eq!(told(Publishing::Completion, Some(&version(None, Some("17")))), None);
        assert_eq!(told(Publishing::Copy, Some(&version(Some("\"abc\""), None))), None);
    }
}
