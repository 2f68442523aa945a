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
    task::{AbortHandle, JoinSet},
};

/// The name of a server's socket on the standard port.
const SOCKET: &str = ".s.PGSQL.5432";

pub struct Way {
    dir: TempDir,
    server: PathBuf,
    passing: Mutex<Option<AbortHandle>>,
}

impl Way {
    /// The way, and the database as it is found there.
    pub fn to(database: &Database) -> (Self, Database) {
        let (address, folder) = database.url.split_once("host=").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("{address}host={}", dir.path().display());
        let way = Self { dir, server: Path::new(folder).join(SOCKET), passing: Mutex::new(None) };
        way.mend();
        (way, Database { url })
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        std::fs::remove_file(self.dir.path().join(SOCKET)).unwrap();
        // Its connections end with the set that it owns.
        self.passing.lock().unwrap().take().unwrap().abort();
    }

    pub fn mend(&self) {
        let listener = UnixListener::bind(self.dir.path().join(SOCKET)).unwrap();
        let server = self.server.clone();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = UnixStream::connect(server).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        *self.passing.lock().unwrap() = Some(passing.abort_handle());
    }
}
