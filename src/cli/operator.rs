//! Who sits at the command line: what is kept beside everything that is done from here.

use crate::store::Operator;
use nix::unistd::{User, gethostname, getuid};

/// `cli USER@HOST`.
pub fn operator() -> Operator {
    let uid = getuid();
    // A container's user may have a number only.
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let host = gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_else(|| "unknown".to_owned());
    Operator::new(&format!("cli {user}@{host}"))
}
