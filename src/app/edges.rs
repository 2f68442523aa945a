//! The edges of the process, as the settings want them: what is stored, asked and told elsewhere.

use crate::{
    adapters::{
        completion::{CompletionConfig, CompletionSender},
        lookup::{HttpLookup, LookupConfig},
        providers::Providers,
        storage::{self, BucketOptions, DiskOptions},
        telnyx::{Telnyx, TelnyxConfig},
        transcription::{Transcription, TranscriptionConfig},
        twilio::{Twilio, TwilioConfig},
    },
    domain::{
        ports::{Announcer, BusinessLookup, Provider, Storage, Transcriber},
        recording_url::ProviderBase,
    },
    settings::{Role, Settings},
};
use anyhow::Context;
use std::sync::Arc;
use tokio::runtime::Handle;

#[derive(Clone)]
pub(super) struct Edges {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) announcer: Arc<dyn Announcer>,
    /// `None`: nobody transcribes.
    pub(super) transcriber: Option<Arc<dyn Transcriber>>,
    pub(super) sources: Sources,
}

/// Where recordings come from.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) provider: Arc<dyn Provider>,
    /// `None`: nobody is asked whose a call is.
    pub(super) lookup: Option<Arc<dyn BusinessLookup>>,
}

impl Edges {
    /// Made on the I/O runtime, where their connections will live.
    pub(super) fn new(settings: &Settings, io: &Handle) -> anyhow::Result<Self> {
        let _on_io = io.enter();
        Ok(Self {
            storage: storage(settings)?,
            announcer: Arc::new(announcer(settings)?),
            transcriber: transcriber(settings)?,
            sources: Sources::new(settings, io)?,
        })
    }
}

impl Sources {
    pub(super) fn new(settings: &Settings, io: &Handle) -> anyhow::Result<Self> {
        let _on_io = io.enter();
        Ok(Self { provider: Arc::new(provider(settings)?), lookup: lookup(settings)? })
    }
}

fn storage(settings: &Settings) -> anyhow::Result<Arc<dyn Storage>> {
    let make = [Role::Api, Role::Worker].into_iter().any(|role| settings.roles.has(role));
    let settings = &settings.storage;
    let disk = DiskOptions { fsync: settings.fsync, min_free: settings.min_free, make };
    let bucket = BucketOptions {
        vars: settings.options.clone(),
        needs_conditions: settings.needs_conditions,
        checksum: settings.checksum,
        connect_timeout: settings.connect_timeout,
        request_timeout: settings.request_timeout,
        retries: settings.retries,
    };
    storage::open(&settings.url, disk, &bucket).context("CALLSPOOL_STORAGE_URL")
}

fn provider(settings: &Settings) -> anyhow::Result<Providers> {
    let made = "the HTTP client cannot be made";
    let (twilio, telnyx) = (Twilio::new(twilio(settings)), Telnyx::new(telnyx(settings)));
    let (twilio, telnyx) = (Arc::new(twilio.context(made)?), Arc::new(telnyx.context(made)?));
    Ok(Providers::new(settings.provider_bases(), twilio, telnyx))
}

fn twilio(settings: &Settings) -> TwilioConfig {
    let twilio = &settings.twilio;
    TwilioConfig {
        bases: settings.provider_bases(),
        accounts: twilio.accounts.clone(),
        sid_form: twilio.sid_form,
        connect_timeout: twilio.connect_timeout,
        read_timeout: twilio.read_timeout,
        max_bytes: twilio.max_bytes,
        min_bytes_per_second: twilio.min_bytes_per_second,
        throughput_window: twilio.throughput_window,
        resumes: twilio.resumes,
    }
}

/// The network is the same for both.
fn telnyx(settings: &Settings) -> TelnyxConfig {
    let (telnyx, network) = (&settings.telnyx, &settings.twilio);
    TelnyxConfig {
        base: ProviderBase::new(telnyx.api_base.clone()),
        api_key: telnyx.api_key.clone(),
        media_base: telnyx.media_base.clone(),
        connect_timeout: network.connect_timeout,
        read_timeout: network.read_timeout,
        max_bytes: network.max_bytes,
        min_bytes_per_second: network.min_bytes_per_second,
        throughput_window: network.throughput_window,
        resumes: network.resumes,
    }
}

fn lookup(settings: &Settings) -> anyhow::Result<Option<Arc<dyn BusinessLookup>>> {
    let mapping = &settings.mapping;
    let Some(url) = mapping.lookup.clone() else { return Ok(None) };
    let config = LookupConfig { url, token: mapping.token.clone(), timeout: mapping.timeout };
    let lookup = HttpLookup::new(config).context("the HTTP client of mapping.lookup_url cannot be made")?;
    Ok(Some(Arc::new(lookup)))
}

fn transcriber(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Transcriber>>> {
    let transcription = settings.transcription.clone();
    let Some(base_url) = transcription.base_url else { return Ok(None) };
    let made = Transcription::new(TranscriptionConfig {
        base_url,
        api_key: transcription.api_key,
        model: transcription.model,
        language: transcription.language,
        timeout: transcription.timeout,
        max_bytes: transcription.max_bytes,
    });
    Ok(Some(Arc::new(made.context("the HTTP client of the transcription service cannot be made")?)))
}

fn announcer(settings: &Settings) -> anyhow::Result<CompletionSender> {
    let completion = &settings.completion;
    let config = CompletionConfig {
        rules: completion.rules(),
        secrets: completion.secrets.clone(),
        timeout: completion.timeout,
    };
    CompletionSender::new(config).context("the HTTP client of the completion webhook cannot be made")
}
