//! Failures on purpose: a rule names an actor and a place in it, and what happens there.
//!
//! Without the feature `faults` there are no rules and [`Faults::hit`] is nothing at all.

use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    Panic,
    /// The child ends with an error.
    Error,
    /// The child ends normally.
    Stop,
    /// The thread stands still for ever: what no supervisor can end.
    Block,
}

/// One line of `[[faults]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// A child's id, such as `slot_manager` or `recording_worker-3`; a pool's name means any of it.
    pub actor: String,
    /// `started`, `stopping`, `stopped`, `handler`, `timer`, `io`, or an actor's own place.
    pub place: String,
    pub kind: FaultKind,
    /// Hits that pass before the fault happens.
    #[serde(default)]
    pub after: u32,
    /// Hits that fail then.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// The rules of this process, shared by all actors.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    rules: std::sync::Arc<Vec<(FaultRule, std::sync::atomic::AtomicU32)>>,
}

impl Faults {
    #[cfg(feature = "faults")]
    pub fn new(rules: Vec<FaultRule>) -> Self {
        Self { rules: std::sync::Arc::new(rules.into_iter().map(|rule| (rule, 0.into())).collect()) }
    }

    /// Counts a visit of `place` and says what is to happen there.
    #[cfg(feature = "faults")]
    pub fn hit(&self, actor: &str, place: &str) -> Option<FaultKind> {
        use std::sync::atomic::Ordering::SeqCst;
        for (rule, visits) in self.rules.iter() {
            let same_actor =
                rule.actor == actor || actor.rsplit_once('-').is_some_and(|(pool, _)| pool == rule.actor);
            if !same_actor || rule.place != place {
                continue;
            }
            let visit = visits.fetch_add(1, SeqCst);
            if visit >= rule.after && visit < rule.after.saturating_add(rule.times) {
                return Some(rule.kind);
            }
        }
        None
    }

    #[cfg(not(feature = "faults"))]
    pub fn hit(&self, _actor: &str, _place: &str) -> Option<FaultKind> {
        None
    }
}

#[cfg(all(test, feature = "faults"))]
mod tests {
    use super::*;

    #[test]
    fn a_rule_passes_some_hits_fails_some_and_is_spent() {
        let rule =
            FaultRule { actor: "pool".into(), place: "io".into(), kind: FaultKind::Error, after: 1, times: 2 };
        let faults = Faults::new(vec![rule]);
        let hits: Vec<_> = (0..4).map(|_| faults.hit("pool-7", "io")).collect();
        assert_eq!(hits, [None, Some(FaultKind::Error), Some(FaultKind::Error), None]);
        assert_eq!(faults.hit("other", "io"), None);
    }
}
