//! Several hosts in one URL: which of them is the primary, and who is told when that changes.
//!
//! | file | what it holds |
//! |---|---|
//! | `address` | where a connection goes: to the only host, or to the primary of several |
//! | `known` | what is known of the hosts, and who waits for it |
//! | `look` | one look at all hosts: each is asked at the same time |
//! | `errors` | what an error of the database says of the host that it came from |
//! | `pools` | a pool of connections for each primary in turn |
//!
//! Nothing is asked for a statement, and one question for a new connection. Hosts are looked at before the first use,
//! and again when a statement meets a server that is read-only, ends or breaks off, or when a connection is long in
//! coming. Of several that take writes the one on the newest timeline is the primary, since a promotion begins a new
//! one: a primary that was replaced and came back by mistake is not used, and never one on an older timeline than was
//! seen before.

mod address;
mod errors;
mod known;
mod look;
mod pools;

pub(super) use address::Address;
pub(super) use errors::NoPrimary;
pub(super) use look::IS_READ_ONLY;
pub(super) use pools::{Pools, Seat};

use sqlx::postgres::PgConnectOptions;
use std::time::Duration;

/// Longest wait for one host to let us in, and then for its answer.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// One of the hosts, with what it takes to connect to it.
#[derive(Clone)]
struct Candidate {
    /// For the log: a name and a port, never a path.
    name: String,
    options: PgConnectOptions,
}
