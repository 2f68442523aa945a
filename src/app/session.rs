//! A command's way to the database: the runtime, the store, and warnings on the standard error.

use super::{io_runtime, store};
use crate::{
    adapters::embedded_postgres::EmbeddedPostgres, domain::ids::InstanceId, settings::Settings, store::Store, telemetry,
};
use anyhow::Context;
use secrecy::SecretString;
use tokio::runtime::Handle;

pub struct Session {
    pub settings: Settings,
    pub store: Store,
    pub io: Handle,
}

/// Connects, runs `command`, and closes again.
pub fn with_store<T>(
    mut settings: Settings,
    command: impl FnOnce(&Session) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    telemetry::init_for_command();
    let io = io_runtime()?;
    let embedded = embedded_database(&mut settings, &io)?;
    let store = io.block_on(async { store(&settings, InstanceId::generate()) })?;
    let session = Session { settings, store, io };
    let done = command(&session);
    session.io.block_on(session.store.close());
    if let Some(embedded) = embedded {
        session.io.block_on(embedded.stop());
    }
    done
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
    let url = io.block_on(embedded.database("callspool")).context("the embedded database cannot be made")?;
    settings.database.url = Some(SecretString::from(url));
    Ok(Some(embedded))
}
