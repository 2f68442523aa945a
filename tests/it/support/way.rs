//! A way to the database that can be cut and mended: a socket that passes everything on.

use super::Database;
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// The name of a server's socket on the standard port.
const SOCKET: &str = ".s.PGSQL.5432";

pub struct Way {
    dir: TempDir,
    server: PathBuf,
    passing: Mutex<Option<AbortHandle>>,
    /// Connections that were made before its last change pass nothing any more, and are not closed.
    silenced: watch::Sender<()>,
}

impl Way {
    /// The way, and the database as it is found there.
    pub fn to(database: &Database) -> (Self, Database) {
        let (address, folder) = database.url.split_once("host=").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("{address}host={}", dir.path().display());
        let way = Self {
            dir,
            server: Path::new(folder).join(SOCKET),
            passing: Mutex::new(None),
            silenced: watch::Sender::new(()),
        };
        way.mend();
        (way, Database { url })
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        std::fs::remove_file(self.dir.path().join(SOCKET)).unwrap();
        // Its connections end with the set that it owns.
        self.passing.lock().unwrap().take().unwrap().abort();
    }

    /// Every connection stays and passes nothing more; new ones work.
    pub fn fall_silent(&self) {
        self.silenced.send_replace(());
    }

    pub fn mend(&self) {
        let listener = UnixListener::bind(self.dir.path().join(SOCKET)).unwrap();
        let (server, silenced) = (self.server.clone(), self.silenced.subscribe());
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut silenced) = (server.clone(), silenced.clone());
                silenced.mark_unchanged();
                connections.spawn(async move {
                    let Ok(mut server) = UnixStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        Ok(()) = silenced.changed() => std::future::pending().await,
                    }
                });
            }
        });
        *self.passing.lock().unwrap() = Some(passing.abort_handle());
    }
}
