//! Bytes from the I/O runtime, where the storage's connections live, to the server's thread that sends them.

use crate::domain::{
    failure::{Failure, FailureCode},
    ports::MediaStream,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::{convert::Infallible, future::Future, time::Duration};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// Chunks that are read ahead of the client; with the chunk's size, this is the memory of one who plays.
const AHEAD: usize = 2;
/// Longest wait for the storage.
const STORAGE_LIMIT: Duration = Duration::from_secs(30);
/// How long a client may read nothing. One that was paused for longer asks for the rest when it goes on.
const CLIENT_LIMIT: Duration = Duration::from_mins(2);

/// Asks the storage something. It may be a disk of the network that never answers.
pub(super) async fn answered<T>(
    call: impl Future<Output = Result<Option<T>, Failure>>,
) -> Result<Option<T>, Failure> {
    timeout(STORAGE_LIMIT, call).await.unwrap_or_else(|_| Err(silent()))
}

/// The `length` bytes of `media`, which is read on `io` no faster than the client reads; dropping this ends the reading.
/// Where the storage fails it ends early, and the client learns that by the length that it was told. `failed` hears why.
pub(super) fn bridged<F: FnOnce(Failure) + Send + 'static>(
    io: &Handle,
    media: MediaStream,
    length: u64,
    failed: F,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<F> {
    let (chunks, mut body) = mpsc::channel(AHEAD);
    let reading = AbortOnDropHandle::new(io.spawn(async move {
        if let Err(failure) = read(media, length, chunks).await {
            failed(failure);
        }
    }));
    stream::poll_fn(move |context| {
        let _held = &reading;
        body.poll_recv(context).map(|chunk| chunk.map(Ok))
    })
}

async fn read(mut media: MediaStream, length: u64, chunks: mpsc::Sender<Bytes>) -> Result<(), Failure> {
    let mut left = length;
    while let Some(chunk) = timeout(STORAGE_LIMIT, media.next()).await.map_err(|_| silent())? {
        let chunk = chunk?;
        left = left.saturating_sub(chunk.len() as u64);
        let sent = timeout(CLIENT_LIMIT, chunks.send(chunk)).await;
        if !matches!(sent, Ok(Ok(()))) {
            // The client reads no more.
            return Ok(());
        }
    }
    if left > 0 {
        return Err(Failure::new(FailureCode::StorageError, format!("the file ended {left} bytes early")));
    }
    Ok(())
}

fn silent() -> Failure {
    let text = format!("the storage did not answer within {} s", STORAGE_LIMIT.as_secs());
    Failure::new(FailureCode::StorageError, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::oneshot;

    /// Chunks of one byte without end, and how many were read.
    fn endless(read: &'static AtomicUsize) -> MediaStream {
        let chunk = move || {
            read.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(b"x"))
        };
        Box::pin(stream::repeat_with(chunk))
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_client_takes() {
        static READ: AtomicUsize = AtomicUsize::new(0);
        let mut body = Box::pin(bridged(&Handle::current(), endless(&READ), 100, |_| ()));
        for _ in 0..10 {
            body.next().await;
        }
        // Whatever can go on does so before this one.
        tokio::task::yield_now().await;
        let read = READ.load(Ordering::Relaxed);
        assert!(read <= 10 + AHEAD + 1, "{read}");
    }

    #[tokio::test]
    async fn a_storage_that_fails_ends_the_body_early_and_says_why() {
        let half = Bytes::from_static(b"half");
        let storage_error = |text: &str| Failure::new(FailureCode::StorageError, text);
        for (end, expected) in [
            (Some(Err(storage_error("connection reset"))), "connection reset"),
            (None, "the file ended 4 bytes early"),
        ] {
            let media: MediaStream = Box::pin(stream::iter([Ok(half.clone())].into_iter().chain(end)));
            let (told, why) = oneshot::channel();
            let body = bridged(&Handle::current(), media, 8, |failure| drop(told.send(failure)));
            assert_eq!(body.collect::<Vec<_>>().await, [Ok(half.clone())]);
            assert_eq!(why.await, Ok(storage_error(expected)));
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_reading() {
        struct Dropped(Option<oneshot::Sender<()>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.take().map(|told| told.send(()));
            }
        }
        let (told, ended) = oneshot::channel();
        let held = Dropped(Some(told));
        // A storage that does not answer: only an abort ends the wait for it.
        let media: MediaStream = Box::pin(stream::poll_fn(move |_| {
            let _held = &held;
            std::task::Poll::Pending
        }));
        let mut body = Box::pin(bridged(&Handle::current(), media, 100, |_| ()));
        assert!(futures_util::poll!(body.next()).is_pending());
        drop(body);
        assert_eq!(ended.await, Ok(()));
    }
}
