//! Who may use the API: whoever has one of its tokens, by header or by the cookie that a login sets; or, where no token
//! is configured, whoever is on loopback.
//!
//! | file | what it holds |
//! |---|---|
//! | `tokens` | bearer tokens, and who has them |
//! | `cookie` | the login's cookie |
//! | `session` | the routes that set it, show whose it is, and take it away |
//! | `origin` | what a page of somebody else's must not do with a browser's cookie or its place on loopback |

mod cookie;
mod origin;
pub(super) mod session;
mod tokens;

pub use tokens::Tokens;

use super::{HttpDeps, problem::Problem};
use crate::domain::access::{LOOPBACK_NAME, Scope};
use actix_web::{HttpRequest, http::Method};
use serde::Serialize;
use utoipa::ToSchema;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Caller {
    /// The token's name, or `loopback`: for the log and the history of what was changed.
    pub(super) name: String,
    pub(super) scopes: Vec<Scope>,
}

impl Caller {
    fn loopback() -> Self {
        Self { name: LOOPBACK_NAME.to_owned(), scopes: Scope::ALL.to_vec() }
    }
}

/// The names of whoever's token and whoever's cookie a request has: see [`crate::http::tried`].
pub(super) fn names(request: &HttpRequest, tokens: &Tokens) -> [Option<String>; 2] {
    let by_token = tokens::given(request).and_then(|given| tokens.caller(given));
    [by_token, cookie::caller(request, tokens)].map(|caller| caller.map(|caller| caller.name))
}

impl HttpDeps {
    /// Whoever asks, if they may do what needs `scope`.
    pub(super) fn authorize(&self, request: &HttpRequest, scope: Scope) -> Result<Caller, Problem> {
        let caller = self.caller(request)?;
        if caller.scopes.contains(&scope) { Ok(caller) } else { Err(Problem::scope(scope)) }
    }

    /// Whoever asks, whatever they may do.
    ///
    /// A browser sends its cookie, and reaches a loopback address, also for a page of somebody else's. So who is known
    /// by one of these changes something only from our own page.
    pub(super) fn caller(&self, request: &HttpRequest) -> Result<Caller, Problem> {
        let changes = ![Method::GET, Method::HEAD].contains(request.method());
        if self.tokens.are_none() {
            origin::on_loopback(request)?;
            if changes {
                origin::not_across_sites(request, self.webhook.public_url.as_ref())?;
            }
            return Ok(Caller::loopback());
        }
        // A header that is wrong is not made good by a cookie.
        if let Some(given) = tokens::given(request) {
            return self.tokens.caller(given).ok_or_else(Problem::unauthorized);
        }
        let caller = cookie::caller(request, &self.tokens).ok_or_else(Problem::unauthorized)?;
        if changes {
            origin::from_our_page(request, self.webhook.public_url.as_ref())?;
        }
        Ok(caller)
    }
}
