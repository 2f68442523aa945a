//! `callspool backfill`: enqueues what the provider has of a time and nobody told us of.

use super::{
    exit::Exit,
    output::{self, Format},
};
use crate::{
    app::{BackfillOrder, Backfilled, Session, backfill as go_through, with_schema},
    settings::Settings,
    store::{AccountSid, BusinessId, Counts, JobBook, duration},
};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;

#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Whose recordings are listed: AC…, a configured account, or a subaccount of the main one; telnyx, for Telnyx'
    #[arg(long, value_name = "SID")]
    account: String,
    /// Recordings that began at or after this time: RFC 3339, or how long ago, such as 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: DateTime<Utc>,
    /// … and before this one [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// Whose all of them are [default: as the configuration of the account or the lookup service says]
    #[arg(long, value_name = "N")]
    business: Option<BusinessId>,
    /// Count only; nothing is enqueued
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let ago = duration::parse(text, None)
        .and_then(|ago| Utc::now().checked_sub_signed(chrono::TimeDelta::from_std(ago).ok()?));
    ago.ok_or_else(|| "a time such as 2026-02-25T08:00:00Z, or how long ago: 30min, 24h, 7d".to_owned())
}

pub fn backfill(args: &BackfillArgs, settings: Settings) -> anyhow::Result<Exit> {
    let order = match args.order(&settings) {
        Ok(order) => order,
        Err((fault, next)) => {
            output::complain(&fault);
            output::next(&next);
            return Ok(Exit::Usage);
        }
    };
    with_schema(settings, |session| run(&order, args.format, session))
}

impl BackfillArgs {
    /// The order, or what is wrong with it and what to do.
    fn order(&self, settings: &Settings) -> Result<BackfillOrder, (String, String)> {
        let account = self.account(settings)?;
        let until = self.until.unwrap_or_else(Utc::now);
        if self.since >= until {
            let fault = "--since: allowed is a time before --until, and before now".to_owned();
            return Err((fault, "a time such as 24h means: so long ago".to_owned()));
        }
        let dry_run = self.dry_run;
        Ok(BackfillOrder { account, since: self.since, until, business: self.business, dry_run })
    }

    fn account(&self, settings: &Settings) -> Result<AccountSid, (String, String)> {
        if self.account == AccountSid::telnyx().as_str() {
            return match settings.telnyx.api_key {
                Some(_) => Ok(AccountSid::telnyx()),
                None => Err(("--account: telnyx is not configured".to_owned(), "set TELNYX_API_KEY".to_owned())),
            };
        }
        let twilio = &settings.twilio;
        let account = AccountSid::parse(&self.account, twilio.sid_form)
            .map_err(|error| (format!("--account: {error}"), "copy it from the provider's console".to_owned()))?;
        if twilio.accounts.responsible(Some(&account)).is_none() {
            let fault = format!("--account: {account} is not configured, and there is no main account");
            return Err((
                fault,
                "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or a section for this account".to_owned(),
            ));
        }
        Ok(account)
    }
}

fn run(order: &BackfillOrder, format: Format, session: &Session) -> anyhow::Result<Exit> {
    let bar = session.bars.count_up("recordings seen");
    let done = go_through(session, order, |counts| bar.inc(counts.seen));
    bar.finish_and_clear();
    let Backfilled { counts, trouble } = done?;
    if counts.enqueued > 0 && !order.dry_run && session.io.block_on(session.store.ring()).is_err() {
        output::complain("the jobs are enqueued, but the bell was not rung: they are found a little later");
    }
    print(order, &counts, format)?;
    if let Some(trouble) = trouble {
        output::complain(&format!("not all pages came: {trouble}"));
        output::next("give the same again later: what is enqueued by now is had then");
        return Ok(Exit::TryAgain);
    }
    if counts.unmapped > 0 {
        output::complain(&format!("nobody says whose {} recordings are: they were left", counts.unmapped));
        output::next("give --business, or a business_id to the account, or set mapping.lookup_url");
        return Ok(Exit::Failed);
    }
    if counts.dead > 0 {
        output::hint(
            "`callspool jobs list --state dead` shows those that were had and are dead; `jobs retry` tries them again",
        );
    }
    Ok(Exit::Done)
}

fn print(order: &BackfillOrder, counts: &Counts, format: Format) -> anyhow::Result<()> {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    if format.json {
        return output::json(&serde_json::json!({
            "account": order.account,
            "since": time(order.since),
            "until": time(order.until),
            "dry_run": order.dry_run,
            "seen": counts.seen,
            "had": counts.had,
            "dead": counts.dead,
            "enqueued": counts.enqueued,
            "gone": counts.gone,
            "unmapped": counts.unmapped,
        }));
    }
    let dead =
        if counts.dead > 0 { format!(" (of these dead or cancelled: {})", counts.dead) } else { String::new() };
    let enqueued = if order.dry_run { "would be enqueued" } else { "enqueued" };
    output::fields(
        18,
        [
            ("account", order.account.to_string()),
            ("time", format!("{} to {}", time(order.since), time(order.until))),
            ("seen", counts.seen.to_string()),
            ("had", format!("{}{dead}", counts.had)),
            (enqueued, counts.enqueued.to_string()),
            ("gone", counts.gone.to_string()),
            ("unmapped", counts.unmapped.to_string()),
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        assert_eq!(time("2026-02-25T09:00:00+01:00").unwrap().to_rfc3339(), "2026-02-25T08:00:00+00:00");
        let ago = Utc::now() - time("7d").unwrap();
        assert!((ago.num_seconds() - 7 * 86_400).abs() < 60, "{ago}");
        for junk in ["", "7", "yesterday", "2026-02-25", "99999999999d", "-1h"] {
            assert!(time(junk).unwrap_err().contains("24h"), "{junk}");
        }
    }
}
