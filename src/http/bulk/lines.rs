//! A body in lines, as it comes: bounded as a whole, in each line, and in time.

use crate::http::problem::Problem;
use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A body may begin slowly, and has to come at this pace in bytes a second after that.
const HEAD_START: Duration = Duration::from_secs(10);
const PACE: f64 = 65_536.0;
/// Longest time of the whole body: it has one of few places, and others wait for that.
const WITHIN: Duration = Duration::from_mins(2);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(BytesMut),
    /// Longer than a line may be; what it said is gone.
    TooLong,
}

pub(super) struct Lines<S> {
    body: S,
    /// Largest body, and largest line, in bytes.
    limit: usize,
    line_limit: usize,
    buffer: BytesMut,
    /// So far into the buffer there is no line's end.
    looked: usize,
    /// The line in the buffer is too long: its rest is skipped.
    skips: bool,
    received: usize,
    began: Instant,
    ended: bool,
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Lines<S> {
    pub(super) fn new(body: S, limit: usize, line_limit: usize) -> Self {
        Self {
            body,
            limit,
            line_limit,
            buffer: BytesMut::new(),
            looked: 0,
            skips: false,
            received: 0,
            began: Instant::now(),
            ended: false,
        }
    }

    pub(super) fn line_limit(&self) -> usize {
        self.line_limit
    }

    /// The next line without its end; `None` after the last. A last line needs no end.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            if let Some(at) = self.buffer[self.looked..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.looked + at + 1);
                line.truncate(line.len() - 1);
                self.looked = 0;
                return Ok(Some(self.line(line)));
            }
            if self.ended {
                let rest = self.buffer.split();
                self.looked = 0;
                return Ok((self.skips || !rest.is_empty()).then(|| self.line(rest)));
            }
            self.looked = self.buffer.len();
            if self.buffer.len() > self.line_limit {
                self.skips = true;
                self.buffer.clear();
                self.looked = 0;
            }
            self.receive().await?;
        }
    }

    fn line(&mut self, line: BytesMut) -> Line {
        let too_long = std::mem::take(&mut self.skips) || line.len() > self.line_limit;
        if too_long { Line::TooLong } else { Line::Whole(line) }
    }

    async fn receive(&mut self) -> Result<(), Problem> {
        #[expect(clippy::cast_precision_loss, reason = "a body has less than 2^53 bytes")]
        let due = WITHIN.min(HEAD_START + Duration::from_secs_f64(self.received as f64 / PACE));
        match timeout_at(self.began + due, self.body.next()).await {
            Ok(Some(Ok(chunk))) => {
                self.received += chunk.len();
                if self.received > self.limit {
                    return Err(Problem::too_large(self.limit));
                }
                self.buffer.extend_from_slice(&chunk);
            }
            Ok(Some(Err(_))) => {
                return Err(Problem::bad_request("body", "the body ended before its announced length"));
            }
            Ok(None) => self.ended = true,
            Err(_) => return Err(Problem::too_slow()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn read(chunks: &[&str], limit: usize, line_limit: usize) -> Result<Vec<Option<String>>, Problem> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk.as_bytes()))).collect();
        let mut lines = Lines::new(stream::iter(chunks), limit, line_limit);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await? {
            read.push(match line {
                Line::Whole(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        }
        Ok(read)
    }

    fn whole(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[tokio::test]
    async fn lines_are_put_together_from_whatever_pieces_come() {
        let wanted = whole(&["one", "", "three", "last"]);
        for chunks in [
            &["one\n\nthree\nlast"][..],
            &["one\n\nthree\nlast\n"],
            &["o", "ne", "\n", "\nthr", "ee\nl", "ast"],
            &["", "one\n\n", "three\nlast", "\n"],
        ] {
            assert_eq!(read(chunks, 100, 100).await.unwrap(), wanted, "{chunks:?}");
        }
        assert_eq!(read(&[], 100, 100).await.unwrap(), whole(&[]));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_one_line_however_it_comes() {
        for chunks in [&["a\n123456\nb"][..], &["a\n", "1234", "56", "789", "0\nb\n"], &["a\n123456", "\nb"]] {
            let read = read(chunks, 100, 5).await.unwrap();
            assert_eq!(read, [Some("a".to_owned()), None, Some("b".to_owned())], "{chunks:?}");
        }
        assert_eq!(read(&["123456"], 100, 5).await.unwrap(), [None]);
        assert_eq!(read(&["12345"], 100, 5).await.unwrap(), whole(&["12345"]));
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_as_soon_as_it_is() {
        let refused = read(&["a\n", "b\n", "c\n"], 5, 5).await.unwrap_err();
        assert_eq!(refused.to_string(), "413 too_large");
    }

    /// How many lines of an endless body were read, and how that ended.
    async fn read_drops(change: impl FnOnce(&mut Lines<Drops>)) -> (usize, Problem) {
        let drops: Drops = Box::pin(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok(Bytes::from_static(b"a\n")), ()))
        }));
        let mut lines = Lines::new(drops, usize::MAX, 100);
        change(&mut lines);
        let mut read = 0;
        loop {
            match lines.next().await {
                Ok(line) => read += usize::from(line.is_some()),
                Err(refused) => return (read, refused),
            }
        }
    }

    type Drops = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_is_cut_off() {
        let late = Instant::now() + Duration::from_millis(200) - HEAD_START;
        let (read, refused) = read_drops(|lines| lines.began = late).await;
        assert_eq!(refused.to_string(), "408 too_slow");
        assert!((1..=20).contains(&read), "{read}");
    }

    #[tokio::test]
    async fn a_body_that_keeps_its_pace_but_has_no_end_is_cut_off_too() {
        let late = Instant::now() + Duration::from_millis(200) - WITHIN;
        let (read, refused) = read_drops(|lines| (lines.began, lines.received) = (late, 1 << 30)).await;
        assert_eq!(refused.to_string(), "408 too_slow");
        assert!((1..=20).contains(&read), "{read}");
    }
}
