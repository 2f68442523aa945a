//! Exit codes, after `sysexits.h` where it has one.

use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// What the arguments ask for is not possible. (clap itself exits with this code.)
    Usage,
    /// `EX_TEMPFAIL`: the same may work later.
    TryAgain,
    /// `EX_CONFIG`.
    Configuration,
    /// What the supervised process ended with.
    Process(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::TryAgain => 75,
            Self::Configuration => 78,
            Self::Process(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
