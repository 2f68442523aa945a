//! Downloads of one business at one time, as the provider counted them.
//!
//! A process that is frozen keeps its connections while the fleet has long given its jobs to others. So a download counts
//! until the database took its lease back, and no longer: that moment is a row, not a guess. Whoever is awake ends its
//! downloads before.

use super::{LostLease, Moment, Visit, Window};
use std::collections::{BTreeMap, HashMap};

/// A process that wakes may begin what it was about to begin, before its clock tells it that it slept.
const WAKING: Moment = 1_000_000;

#[derive(Debug, Default)]
pub struct Counted {
    pub violations: Vec<String>,
    /// At most at one time, by business.
    pub peaks: BTreeMap<i64, usize>,
    /// Downloads that went on after their lease was lost.
    pub held_by_frozen: usize,
}

pub fn check(
    visits: &[Visit],
    slots: impl Fn(i64) -> usize,
    lost: &[LostLease],
    windows: &[Window],
    now: Moment,
) -> Counted {
    let mut counted = Counted::default();
    let mut losses: HashMap<&str, Vec<&LostLease>> = HashMap::new();
    for lease in lost {
        losses.entry(&lease.recording_sid).or_default().push(lease);
    }
    let mut steps: BTreeMap<i64, Vec<(Moment, bool, &Visit)>> = BTreeMap::new();
    for visit in visits {
        let ended = visit.until.unwrap_or(now);
        let mine = losses.get(visit.recording_sid.as_str()).map_or(&[][..], Vec::as_slice);
        let lost_at = mine.iter().filter(|lease| was_of(visit, lease, windows)).map(|lease| lease.lost_at).min();
        let until = ended.min(lost_at.unwrap_or(ended));
        counted.held_by_frozen += usize::from(until < ended);
        if until > visit.from {
            let business = steps.entry(visit.business_id).or_default();
            business.extend([(visit.from, true, visit), (until, false, visit)]);
        }
    }
    for (business_id, mut steps) in steps {
        // An end comes before a beginning of the same moment.
        steps.sort_by_key(|(when, begins, _)| (*when, *begins));
        let (mut under_way, mut peak) = (Vec::<&Visit>::new(), 0);
        for (when, begins, visit) in steps {
            if !begins {
                under_way.retain(|other| !std::ptr::eq(*other, visit));
                continue;
            }
            under_way.push(visit);
            if under_way.len() > slots(business_id) {
                counted.violations.push(format!(
                    "above the limit: business {business_id} has {} slots, and at {when} there were {under_way:?}",
                    slots(business_id)
                ));
            }
            peak = peak.max(under_way.len());
        }
        counted.peaks.insert(business_id, peak);
    }
    counted
}

/// Whether this was the download of that lease: it began under it, or when its process woke.
fn was_of(visit: &Visit, lease: &LostLease, windows: &[Window]) -> bool {
    if !lease.member.is_empty() && lease.member != visit.member {
        return false;
    }
    let waking = windows
        .iter()
        .filter(|window| window.member == visit.member && window.from <= lease.lost_at)
        .filter(|window| lease.lost_at <= window.until)
        .map(|window| window.until + WAKING);
    visit.from >= lease.leased_at && visit.from <= waking.max().unwrap_or(lease.lost_at)
}
