//! What the provider has: everything about a recording follows from the seed and its number.

use crate::support::provider::{mp3, wav};
use bytes::{Bytes, BytesMut};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::time::Duration;

/// The fleet's accounts: one that is never asked to slow down, and one that is.
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub const LIMITED_ACCOUNT: &str = "AC00000000000000000000000000000002";

/// Businesses 1 to this; the last two are of the limited account.
pub const BUSINESSES: u32 = 10;
/// Numbers from here on are canaries, each of the one business that is theirs.
pub const CANARIES: u32 = 1_000_000;
pub const CANARY_BUSINESS: i64 = 999;

/// Few slots, so that a slot too many is soon seen.
pub fn slots(business_id: i64) -> usize {
    if business_id == CANARY_BUSINESS { 4 } else { 1 + usize::try_from(business_id).unwrap() % 3 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Calm,
    /// 404 at first.
    NotReady,
    /// 500 at first.
    Failing,
    /// Half of it at first.
    Cut,
    /// 429 at first.
    Limited,
}

#[derive(Debug, Clone)]
pub struct Recording {
    pub number: u32,
    pub business_id: i64,
    pub temper: Temper,
    pub is_wav: bool,
    /// How long the provider takes to send it.
    pub takes: Duration,
    length: u32,
}

impl Recording {
    pub fn new(seed: u64, number: u32) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ (u64::from(number) << 20));
        if number >= CANARIES {
            let (temper, takes) = (Temper::Calm, Duration::from_millis(20));
            return Self { number, business_id: CANARY_BUSINESS, temper, is_wav: false, takes, length: 3_000 };
        }
        let business_id = i64::from(random.random_range(1..=BUSINESSES));
        let is_limited = is_limited(business_id);
        let temper = match random.random_range(0..20) {
            0 | 1 => Temper::NotReady,
            2 => Temper::Failing,
            3 | 4 => Temper::Cut,
            5 if is_limited => Temper::Limited,
            _ => Temper::Calm,
        };
        // Most are short; some are still under way when their process has been frozen for long.
        let millis = if random.random_range(0..12) == 0 { 2_500..5_000 } else { 100..900 };
        Self {
            number,
            business_id,
            temper,
            is_wav: random.random_range(0..8) == 0,
            takes: Duration::from_millis(random.random_range(millis)),
            length: random.random_range(4_000..40_000),
        }
    }

    pub fn account(&self) -> &'static str {
        if is_limited(self.business_id) { LIMITED_ACCOUNT } else { ACCOUNT }
    }

    pub fn call_sid(&self) -> String {
        format!("CA{:032x}", self.number)
    }

    pub fn recording_sid(&self) -> String {
        format!("RE{:032x}", self.number)
    }

    pub fn number_of(recording_sid: &str) -> Option<u32> {
        u32::from_str_radix(recording_sid.strip_prefix("RE")?, 16).ok()
    }

    pub fn extension(&self) -> &'static str {
        if self.is_wav { "wav" } else { "mp3" }
    }

    /// No two recordings have the same.
    pub fn media(&self) -> Bytes {
        if !self.is_wav {
            return mp3(self.number, self.length as usize);
        }
        let mut bytes = BytesMut::from(wav(1, 1 + self.length / 20_000));
        let samples = bytes.len() - 8;
        bytes[samples..samples + 4].copy_from_slice(&self.number.to_le_bytes());
        bytes.freeze()
    }
}

fn is_limited(business_id: i64) -> bool {
    business_id > i64::from(BUSINESSES) - 2 && business_id != CANARY_BUSINESS
}
