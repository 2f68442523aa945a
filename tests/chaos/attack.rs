//! The attacks: what is done to the fleet, to whom, and for how long.

use crate::fleet::{CLOCKED, WORKERS};
use rand::{RngExt, rngs::SmallRng, seq::IndexedRandom};
use std::{fmt, time::Duration};

/// A new kind needs a line in each table below, and its own in `attacks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attack {
    Kill,
    Freeze,
    Drain,
    Panic,
    Skew,
    Cut,
    Silence,
    Delay,
    LoseNotifications,
    RestartFast,
    RestartImmediate,
    Failover,
    Terminate,
    HeldTransaction,
    Exhaust,
    DiskFull,
}

/// Who is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// One process, any.
    Member,
    /// One that has work to do.
    Worker,
    /// The one whose clock can be set.
    Clocked,
    /// What all share.
    All,
}

impl Attack {
    pub const ALL: [Self; 16] = [
        Self::Kill,
        Self::Freeze,
        Self::Drain,
        Self::Panic,
        Self::Skew,
        Self::Cut,
        Self::Silence,
        Self::Delay,
        Self::LoseNotifications,
        Self::RestartFast,
        Self::RestartImmediate,
        Self::Failover,
        Self::Terminate,
        Self::HeldTransaction,
        Self::Exhaust,
        Self::DiskFull,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Drain => "drain",
            Self::Panic => "panic",
            Self::Skew => "skew",
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::Delay => "delay",
            Self::LoseNotifications => "lose-notifications",
            Self::RestartFast => "restart-fast",
            Self::RestartImmediate => "restart-immediate",
            Self::Failover => "failover",
            Self::Terminate => "terminate",
            Self::HeldTransaction => "held-transaction",
            Self::Exhaust => "exhaust",
            Self::DiskFull => "disk-full",
        }
    }

    pub fn parse(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|attack| attack.name() == name).ok_or_else(|| format!("one of: {}", names()))
    }

    pub fn reach(self) -> Reach {
        match self {
            Self::Kill | Self::Freeze | Self::Drain | Self::Cut | Self::Silence | Self::Delay => Reach::Member,
            Self::Panic | Self::LoseNotifications => Reach::Worker,
            Self::Skew => Reach::Clocked,
            _ => Reach::All,
        }
    }

    /// How long the cause stays, in milliseconds. A freeze outlives `queue.beat_ttl`; what is over in a moment leaves
    /// the fleet some time to notice.
    fn hold_ms(self) -> (u64, u64) {
        match self {
            Self::Kill => (300, 4_000),
            Self::Freeze => (2_600, 5_000),
            Self::Drain => (200, 1_000),
            Self::Panic | Self::Skew | Self::Cut => (1_500, 4_000),
            Self::Silence | Self::RestartFast | Self::RestartImmediate | Self::Terminate => (0, 500),
            Self::Delay | Self::LoseNotifications | Self::Exhaust | Self::DiskFull => (2_000, 4_000),
            Self::Failover => (0, 1_500),
            Self::HeldTransaction => (60_000, 60_000),
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One attack of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    pub attack: Attack,
    /// A place in the fleet; what concerns all has none.
    pub target: Option<usize>,
    pub hold: Duration,
    /// What an attack draws for itself, such as where an actor panics.
    pub draw: u32,
}

impl Strike {
    pub fn draw(attack: Attack, is_short: bool, members: usize, random: &mut SmallRng) -> Self {
        let target = match attack.reach() {
            Reach::Member => Some(random.random_range(0..members)),
            Reach::Worker => WORKERS.choose(random).copied(),
            Reach::Clocked => Some(CLOCKED),
            Reach::All => None,
        };
        let (least, most) = attack.hold_ms();
        let hold = match attack {
            Attack::HeldTransaction if is_short => 5_000,
            _ => random.random_range(least..=most),
        };
        Self { attack, target, hold: Duration::from_millis(hold), draw: random.random() }
    }
}
