//! A way to the database that does what networks do: it is cut and mended, slow, and silent without an end.

use super::Database;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// The name of a server's socket on the standard port.
const SOCKET: &str = ".s.PGSQL.5432";
/// What a server's message begins with: its kind, and its length without the kind.
const HEAD: usize = 5;
const NOTIFICATION: u8 = b'A';
const TLS_REFUSED: u8 = b'N';

pub struct Way {
    dir: TempDir,
    server: PathBuf,
    passing: Mutex<Option<AbortHandle>>,
    /// Connections that were made before its last change pass nothing any more, and are not closed.
    silenced: watch::Sender<()>,
    habits: Arc<Habits>,
}

/// What it does to each message of every connection, from now on.
#[derive(Default)]
struct Habits {
    delay_ms: AtomicU64,
    loses_notifications: AtomicBool,
    /// Over all connections so far.
    round_trips: AtomicU64,
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
            habits: Arc::default(),
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

    /// An answer comes so much later than it would: half of it on the way there, half on the way back.
    pub fn delay(&self, round_trip: Duration) {
        let millis = u64::try_from(round_trip.as_millis() / 2).unwrap();
        self.habits.delay_ms.store(millis, Relaxed);
    }

    /// How often a client said something and then waited for the answer.
    #[allow(dead_code, reason = "of the heavy tests")]
    pub fn round_trips(&self) -> u64 {
        self.habits.round_trips.load(Relaxed)
    }

    /// Whether NOTIFYs are lost on their way to whoever listens.
    pub fn lose_notifications(&self, lost: bool) {
        self.habits.loses_notifications.store(lost, Relaxed);
    }

    pub fn mend(&self) {
        let listener = UnixListener::bind(self.dir.path().join(SOCKET)).unwrap();
        let (server, silenced, habits) = (self.server.clone(), self.silenced.subscribe(), Arc::clone(&self.habits));
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut silenced, habits) = (server.clone(), silenced.clone(), Arc::clone(&habits));
                silenced.mark_unchanged();
                connections.spawn(async move {
                    let Ok(mut server) = UnixStream::connect(server).await else { return };
                    tokio::select! {
                        () = carry(&mut client, &mut server, &habits) => {}
                        Ok(()) = silenced.changed() => std::future::pending().await,
                    }
                });
            }
        });
        *self.passing.lock().unwrap() = Some(passing.abort_handle());
    }
}

/// Until either side ends.
async fn carry(client: &mut UnixStream, server: &mut UnixStream, habits: &Habits) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (asked, asks) = mpsc::unbounded_channel();
    let (answered, answers) = mpsc::unbounded_channel();
    let waits = AtomicBool::new(false);
    // Reading goes on while what was read waits: a delay makes nothing slower than itself.
    let _: io::Result<()> = tokio::select! {
        end = read_bytes(from_client, asked, habits, &waits) => end,
        end = write_in_time(to_server, asks) => end,
        end = read_messages(from_server, answered, habits, &waits) => end,
        end = write_in_time(to_client, answers) => end,
    };
}

type Later = (Instant, Vec<u8>);

fn later(habits: &Habits) -> Instant {
    Instant::now() + Duration::from_millis(habits.delay_ms.load(Relaxed))
}

async fn read_bytes(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::UnboundedSender<Later>,
    habits: &Habits,
    waits: &AtomicBool,
) -> io::Result<()> {
    loop {
        let mut bytes = Vec::with_capacity(16 * 1024);
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        waits.store(true, Relaxed);
        _ = to.send((later(habits), bytes));
    }
}

/// Message by message, so that some can be lost.
async fn read_messages(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::UnboundedSender<Later>,
    habits: &Habits,
    waits: &AtomicBool,
) -> io::Result<()> {
    let count = || habits.round_trips.fetch_add(u64::from(waits.swap(false, Relaxed)), Relaxed);
    // A client asks for TLS first, and the answer has no length: it is refused, as on every socket.
    let mut message = vec![0];
    from.read_exact(&mut message).await?;
    assert_eq!(message, [TLS_REFUSED], "no TLS on a socket");
    count();
    _ = to.send((later(habits), message));
    loop {
        let mut message = vec![0; HEAD];
        from.read_exact(&mut message).await?;
        count();
        let length = u32::from_be_bytes(message[1..HEAD].try_into().unwrap());
        message.resize(1 + length as usize, 0);
        from.read_exact(&mut message[HEAD..]).await?;
        if message[0] != NOTIFICATION || !habits.loses_notifications.load(Relaxed) {
            _ = to.send((later(habits), message));
        }
    }
}

async fn write_in_time(
    mut to: impl AsyncWrite + Unpin,
    mut from: mpsc::UnboundedReceiver<Later>,
) -> io::Result<()> {
    while let Some((when, bytes)) = from.recv().await {
        tokio::time::sleep_until(when).await;
        to.write_all(&bytes).await?;
    }
    Ok(())
}
