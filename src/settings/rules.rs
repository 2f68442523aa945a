//! What has to hold between the values of several keys.

use super::checked::Checked;
use crate::domain::{
    access::{ApiToken, LinkSecrets, MIN_SECRET},
    completion::CompletionSecrets,
    database_url::Hosts,
    ids::AccountSid,
    media::Forms,
};
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use std::net::SocketAddr;
use url::Url;

impl Checked {
    /// What has to hold between keys.
    pub(super) fn rules(&self, faults: &mut Vec<String>) {
        let set = |path| self.values.contains_key(path);
        if !set("database.url") && !self.environment.embeds_database() {
            faults.push("database.url: DATABASE_URL is required outside development and test".to_owned());
        }
        self.hosts_rules(faults);
        self.pooler_rules(faults);
        self.account_rules(faults);
        // Whose a recording is, is told by the origin of its URL.
        let origin = |path| self.text(path).and_then(|url| url.parse::<Url>().ok()).map(|url| url.origin());
        if let (Some(twilio), Some(telnyx)) = (origin("twilio.api_base"), origin("telnyx.api_base"))
            && twilio == telnyx
        {
            let from = self.origin("telnyx.api_base");
            faults.push(format!(
                "telnyx.api_base (from {from}): it needs another scheme, host or port than twilio.api_base"
            ));
        }
        let serves_api = self.list("process.roles").is_some_and(|roles| roles.iter().any(|role| role == "api"));
        let bind = self.text("http.bind").and_then(|bind| bind.parse::<SocketAddr>().ok());
        let beyond_loopback = bind.is_some_and(|bind| !bind.ip().is_loopback());
        let has_token = set("http.api_token") || set("http.api_tokens");
        if serves_api && !has_token && beyond_loopback {
            let origin = self.origin("http.bind");
            faults.push(format!(
                "http.bind (from {origin}): without CALLSPOOL_API_TOKEN the role api may bind a loopback address only"
            ));
        }
        let is_short = self.text("http.api_token").is_some_and(|token| token.chars().count() < MIN_SECRET);
        if serves_api && is_short && beyond_loopback {
            let origin = self.origin("http.api_token");
            faults.push(format!(
                "http.api_token (from {origin}): a token has at least {MIN_SECRET} characters where http.bind is no \
                 loopback address"
            ));
        }
        self.token_rules(faults);
        if let Some(Err(error)) = self.list("recordings.forms").map(Forms::parse) {
            faults.push(format!("recordings.forms (from {}): {error}", self.origin("recordings.forms")));
        }
        self.after_rules(faults);
        self.at_least(faults, "queue.lease", "twilio.attempt_timeout", 1);
        if set("transcription.base_url") {
            self.at_least(faults, "twilio.attempt_timeout", "transcription.timeout", 1);
        } else if set("transcription.api_key") {
            faults.push(
                "transcription.base_url: CALLSPOOL_TRANSCRIPTION_KEY is set, and not whose key it is; set the address \
                 of its service too"
                    .to_owned(),
            );
        }
        self.at_least(faults, "queue.beat_ttl", "queue.beat_interval", 3);
        self.at_least(faults, "queue.poll_max", "queue.poll_min", 1);
        self.at_least(faults, "storage.sweep_age", "queue.lease", 1);
        self.at_least(faults, "retry.max", "retry.base", 1);
        self.at_least(faults, "holds.probe_max", "holds.probe_first", 1);
        self.at_least(faults, "completion.retry_max", "completion.retry_base", 1);
        self.at_least(faults, "supervision.backoff_max", "supervision.backoff_min", 1);
    }

    fn account_rules(&self, faults: &mut Vec<String>) {
        let sid = self.text("twilio.account_sid");
        let has_section = sid.is_some_and(|sid| {
            self.accounts.iter().any(|account| account.sid.as_str() == sid && account.credentials().is_some())
        });
        let is_set = |path| self.values.contains_key(path);
        let has_own = is_set("twilio.auth_token") || is_set("twilio.api_key");
        if (sid.is_some() && !has_own && !has_section) || (sid.is_none() && has_own) {
            faults.push(
                "twilio: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN belong together; set both or none (TWILIO_API_KEY \
                 opens media too, but signs no webhook)"
                    .to_owned(),
            );
        }
        if let Some(Err(wrong)) = sid.map(|sid| AccountSid::parse(sid, self.sid_form())) {
            let origin = self.origin("twilio.account_sid");
            faults.push(format!("twilio.account_sid (from {origin}): allowed is {}", wrong.allowed));
        }
    }

    fn token_rules(&self, faults: &mut Vec<String>) {
        let Some(list) = self.text("http.api_tokens") else { return };
        let wrong = match ApiToken::parse_list(list) {
            Err(wrong) => wrong,
            Ok(tokens) => {
                let default = self.text("http.api_token");
                let same = tokens.iter().any(|token| Some(token.secret.expose_secret()) == default);
                same.then(|| "CALLSPOOL_API_TOKEN is one of them".to_owned()).into_iter().collect()
            }
        };
        let from = self.origin("http.api_tokens");
        faults.extend(wrong.iter().map(|fault| format!("http.api_tokens (from {from}): {fault}")));
    }

    /// Of what is done after a recording is stored.
    fn after_rules(&self, faults: &mut Vec<String>) {
        let completion = self.text("completion.secret").map(CompletionSecrets::parse_list);
        let links = self.text("links.secret").map(LinkSecrets::parse_list);
        let wrong = [
            ("completion.secret", completion.as_ref().and_then(|parsed| parsed.as_ref().err())),
            ("links.secret", links.as_ref().and_then(|parsed| parsed.as_ref().err())),
        ];
        for (path, list) in wrong {
            let from = self.origin(path);
            faults.extend(list.into_iter().flatten().map(|fault| format!("{path} (from {from}): {fault}")));
        }
        if self.text("completion.url").is_some() && completion.is_none() {
            let from = self.origin("completion.url");
            faults.push(format!(
                "completion.url (from {from}): needs CALLSPOOL_COMPLETION_SECRET to sign what is told"
            ));
        }
    }

    /// Of URLs with several hosts.
    fn hosts_rules(&self, faults: &mut Vec<String>) {
        for path in ["database.url", "migrations.database_url"] {
            if let Some(Err(fault)) = self.text(path).map(Hosts::of) {
                faults.push(format!("{path} (from {}): {fault}", self.origin(path)));
            }
        }
    }

    /// A session's lock and LISTEN do not work through a transaction-mode pooler, and it refuses a session's settings.
    fn pooler_rules(&self, faults: &mut Vec<String>) {
        if !self.is_pooled() {
            return;
        }
        let fault = |text: &str| format!("database.pooler (from {}): {text}", self.origin("database.pooler"));
        let (pooled, direct) = (self.text("database.url"), self.text("migrations.database_url"));
        match direct {
            None => faults.push(fault(
                "transaction needs MIGRATION_DATABASE_URL, the database's direct address, for migrations and LISTEN",
            )),
            Some(_) if direct == pooled => faults.push(fault(
                "MIGRATION_DATABASE_URL is the pooler's address too; it has to be the database's direct one",
            )),
            Some(_) => {}
        }
        // Of every host the same.
        let first = pooled.and_then(|url| Hosts::of(url).ok()?.urls.into_iter().next());
        let options = first.and_then(|url| url.parse::<PgConnectOptions>().ok());
        if options.is_some_and(|options| options.get_options().is_some()) {
            faults.push(fault(
                "DATABASE_URL or PGOPTIONS sets options of the session, which no transaction-mode pooler keeps",
            ));
        }
    }

    fn at_least(&self, faults: &mut Vec<String>, path: &'static str, other: &'static str, times: u32) {
        if let (Some(value), Some(bound)) = (self.duration_of(path), self.duration_of(other))
            && value < bound * times
        {
            let times = if times == 1 { String::new() } else { format!("{times} times ") };
            faults.push(format!("{path} (from {}): allowed is at least {times}{other}", self.origin(path)));
        }
    }

    /// `[[faults]]`, where this binary has them.
    #[cfg_attr(not(feature = "faults"), expect(clippy::unused_self, clippy::needless_pass_by_ref_mut))]
    pub(super) fn fault_rules(&mut self, rules: Vec<config::Value>, faults: &mut Vec<String>) {
        let parsed = rules.into_iter().map(config::Value::try_deserialize).collect::<Result<Vec<_>, _>>();
        match parsed {
            #[cfg(feature = "faults")]
            Ok(rules) => self.faults = crate::domain::faults::Faults::new(rules),
            #[cfg(not(feature = "faults"))]
            Ok(rules) => {
                let _: Vec<crate::domain::faults::FaultRule> = rules;
            }
            Err(error) => faults.push(format!("faults: {error}")),
        }
    }
}
