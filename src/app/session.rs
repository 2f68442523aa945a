//! A command's way to the database: the runtime, the store, and warnings on the standard error.

use super::{
    advice::{OrNext, about_database, advised},
    bars::Bars,
    io_runtime, store,
};
use crate::{
    adapters::embedded_postgres::EmbeddedPostgres,
    domain::{ids::InstanceId, migration::SchemaVersions, ports::Gate},
    settings::Settings,
    store::Store,
    telemetry,
};
use anyhow::{Context, anyhow};
use secrecy::SecretString;
use tokio::runtime::Handle;
use tracing::Level;

pub struct Session {
    pub settings: Settings,
    pub store: Store,
    pub io: Handle,
    /// Warnings on the standard error go between them.
    pub bars: Bars,
}

impl Session {
    /// The schema as it stands; the first question that the database is asked.
    fn versions(&self) -> anyhow::Result<SchemaVersions> {
        let versions = self.io.block_on(self.store.versions());
        let next = versions.as_ref().err().map(about_database).unwrap_or_default();
        versions.context("the database of DATABASE_URL cannot be used").or_next(|| next)
    }
}

/// Connects, runs `command`, and closes again. The schema may be any, or missing.
pub fn with_store<T>(settings: Settings, command: impl FnOnce(&Session) -> anyhow::Result<T>) -> anyhow::Result<T> {
    with_session(settings, Level::WARN, |session| {
        session.versions()?;
        command(session)
    })
}

/// For `callspool migrate`: the database may even be away at first, and what is done is logged.
pub fn with_log<T>(settings: Settings, command: impl FnOnce(&Session) -> anyhow::Result<T>) -> anyhow::Result<T> {
    with_session(settings, Level::INFO, command)
}

/// The same for a command that needs our tables as this binary knows them.
pub fn with_schema<T>(
    settings: Settings,
    command: impl FnOnce(&Session) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_session(settings, Level::WARN, |session| {
        let versions = session.versions()?;
        let schema = &session.settings.database.schema;
        if !versions.fits() {
            let next = match versions.incompatible {
                Some(_) => "use the callspool of the release that the fleet runs",
                None => "`callspool migrate run` brings it there",
            };
            return Err(advised(anyhow!("{versions} (DATABASE_SCHEMA={schema})"), next.to_owned()));
        }
        command(session)
    })
}

fn with_session<T>(
    mut settings: Settings,
    log: Level,
    command: impl FnOnce(&Session) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let bars = Bars::new();
    telemetry::init_for_command(log, bars.clone().writer());
    let io = io_runtime()?;
    refuse_to_make(&settings, log)?;
    let embedded = embedded_database(&mut settings, &io)?;
    let done = io.block_on(async { store(&settings, InstanceId::generate()) }).and_then(|store| {
        let session = Session { settings, store, io: io.clone(), bars };
        let done = command(&session);
        io.block_on(session.store.close());
        done
    });
    if let Some(embedded) = embedded {
        io.block_on(embedded.stop());
    }
    done
}

/// In another folder than the fleet's, a command that looks would make a database of its own there, and find it empty.
fn refuse_to_make(settings: &Settings, log: Level) -> anyhow::Result<()> {
    let migrates = log == Level::INFO;
    let dir = &settings.database.embedded_dir;
    if migrates || settings.database.url.is_some() || EmbeddedPostgres::is_at(dir) {
        return Ok(());
    }
    let shown = dir.display();
    let next = "set DATABASE_URL, or go to the folder where `callspool run` was started";
    Err(advised(anyhow!("no DATABASE_URL, and no embedded PostgreSQL in {shown}"), next.to_owned()))
}

/// Starts the embedded PostgreSQL, or joins the one that runs, where no address is configured. (The settings have
/// refused that outside development and test.)
pub fn embedded_database(settings: &mut Settings, io: &Handle) -> anyhow::Result<Option<EmbeddedPostgres>> {
    if settings.database.url.is_some() {
        return Ok(None);
    }
    let dir = settings.database.embedded_dir.clone();
    let embedded = io
        .block_on(EmbeddedPostgres::start(&dir))
        .context("no DATABASE_URL, and the embedded PostgreSQL does not start")?;
    match io.block_on(embedded.database("callspool")) {
        Ok(url) => settings.database.url = Some(SecretString::from(url)),
        Err(error) => {
            io.block_on(embedded.stop());
            return Err(error).context("the embedded database cannot be made");
        }
    }
    Ok(Some(embedded))
}
