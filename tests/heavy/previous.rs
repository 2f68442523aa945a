//! The release before this one, as `.ci/previous.sh` has built it.

use crate::support::{Database, Provider, process::Setup};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Previous,
    This,
}

impl Release {
    /// A process or a command of it, which does not migrate, with beats as they are shipped.
    pub fn setup(self, database: &Database, provider: &Provider) -> Setup {
        let setup = Setup::new(database)
            .provider(provider)
            .var("RUN_MIGRATIONS", "0")
            .var("CALLSPOOL__QUEUE__BEAT_INTERVAL", "2s")
            .var("CALLSPOOL__QUEUE__BEAT_TTL", "10s")
            .var("CALLSPOOL__SHUTDOWN__GRACE_SECONDS", "10");
        if self == Self::This {
            return setup;
        }
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("previous");
        let binary = built.join("callspool");
        assert!(binary.exists(), "the previous release is missing; `sh .ci/previous.sh` builds it");
        setup.of_release(&binary, &built.join("src/config"))
    }
}
