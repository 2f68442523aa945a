//! The dashboard: a page at `/` that shows the fleet live and lets operators act. It is written without a framework or a
//! build step; the files in `assets` are in the binary, and ask for nothing from anywhere else.
//!
//! | file | what it holds |
//! |---|---|
//! | `assets` | the files, as they are sent |
//! | `bundle` | the scripts as one |
//! | `lean` | what only their readers in this repository need is left away |
//! | `texts` | a language's texts without their keys |
//! | `pages` | `/` and `/assets/…`, with a strict Content-Security-Policy |
//! | `live` | the one sampler behind all streams, however many browsers look |
//! | `events` | `GET /v1/events` |
//!
//! The files hold no data and are served without a token. Everything else comes from `/v1`, for which the browser sends
//! the login's cookie.

mod assets;
mod bundle;
pub(super) mod events;
mod lean;
mod live;
pub(super) mod pages;
mod texts;

pub use live::Live;
