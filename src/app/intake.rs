//! What the provider has against what is known here, for the reconciler and for the command `backfill`.

use super::{Session, edges::Sources};
use crate::{
    actors::reconcile::{Intake, PageRules, PageTrouble},
    domain::{
        ids::{AccountSid, BusinessId},
        ports::Period,
        reconcile::{Counts, PAGE_TRIES, page_wait},
    },
    settings::Settings,
    store::Store,
};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// One order of the command line.
#[derive(Debug, Clone)]
pub struct BackfillOrder {
    pub account: AccountSid,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Whose all of it is, whatever the configuration says.
    pub business: Option<BusinessId>,
    pub dry_run: bool,
}

/// How far it came, and why no farther.
#[derive(Debug)]
pub struct Backfilled {
    pub counts: Counts,
    pub trouble: Option<PageTrouble>,
}

/// Goes through the provider's list, page by page; a page that fails is asked for again for a while. `progress` is told of
/// each page.
pub fn backfill(
    session: &Session,
    order: &BackfillOrder,
    progress: impl Fn(&Counts),
) -> anyhow::Result<Backfilled> {
    let sources = Sources::new(&session.settings, &session.io)?;
    let intake = of(&session.settings, &session.store, sources);
    let rules = PageRules { business: order.business, dry_run: order.dry_run };
    let period = Period { account: order.account.to_string(), since: order.since, until: order.until };
    Ok(session.io.block_on(all_pages(&intake, &period, rules, progress)))
}

/// Its rules, for who goes through the lists.
pub(super) fn of(settings: &Settings, store: &Store, sources: Sources) -> Intake {
    let store = Arc::new(store.clone());
    let of_twilio = settings.twilio.accounts.iter().map(|account| (account.sid.clone(), account.business_id));
    let telnyx = &settings.telnyx;
    let of_telnyx = telnyx.api_key.iter().map(|_| (AccountSid::telnyx(), telnyx.business_id));
    Intake {
        provider: sources.provider,
        jobs: store.clone(),
        book: store,
        lookup: sources.lookup,
        accounts: of_twilio.chain(of_telnyx).collect(),
    }
}

async fn all_pages(intake: &Intake, period: &Period, rules: PageRules, progress: impl Fn(&Counts)) -> Backfilled {
    let (mut counts, mut page, mut tries) = (Counts::default(), None, 0);
    loop {
        match intake.page(period, page.as_deref(), rules).await {
            Ok(done) => {
                counts += done.counts;
                progress(&done.counts);
                (page, tries) = (done.next, 0);
                if page.is_none() {
                    return Backfilled { counts, trouble: None };
                }
            }
            Err(trouble) => {
                tries += 1;
                if tries >= PAGE_TRIES || !trouble.can_pass() {
                    return Backfilled { counts, trouble: Some(trouble) };
                }
                let wait = page_wait(tries, trouble.retry_after(), rand::random());
                let retry_in_ms = wait.as_millis();
                tracing::warn!(%trouble, tries, retry_in_ms, "a page of the provider's recordings did not come yet");
                tokio::time::sleep(wait).await;
            }
        }
    }
}
