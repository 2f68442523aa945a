//! The provider: HTTP by hand, because only the socket itself says when a client has gone, and a book of its own. Who asks
//! is told by the key that each process signs with.

use crate::{
    checker::{Moment, Visit, moment},
    recordings::{Recording, Temper},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use socket2::SockRef;
use std::{
    collections::{HashMap, HashSet},
    io,
    mem::MaybeUninit,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// Pauses of a body.
const STEP: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Provider {
    pub base: String,
    desk: Arc<Desk>,
}

struct Desk {
    seed: u64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    visits: Vec<Visit>,
    /// Under way: the visit, and the connection that it came by.
    open: HashMap<usize, Arc<TcpStream>>,
    times: HashMap<u32, u32>,
    whole: HashSet<u32>,
}

impl Provider {
    pub async fn start(seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let desk = Arc::new(Desk { seed, book: Mutex::default() });
        let served = Arc::clone(&desk);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let desk = Arc::clone(&served);
                tokio::spawn(async move { serve(desk, stream).await });
            }
        });
        Ok(Self { base, desk })
    }

    /// As a callback names it: without an extension.
    pub fn url(&self, recording: &Recording) -> String {
        format!(
            "{}/2010-04-01/Accounts/{}/Recordings/{}",
            self.base,
            recording.account(),
            recording.recording_sid()
        )
    }

    pub fn visits(&self) -> Vec<Visit> {
        self.desk.book.lock().unwrap().visits.clone()
    }

    /// Recordings that somebody had in full.
    pub fn served(&self) -> usize {
        self.desk.book.lock().unwrap().whole.len()
    }

    /// Whether this member has begun a download since.
    pub fn saw(&self, member: &str, since: Moment) -> bool {
        let book = self.desk.book.lock().unwrap();
        book.visits.iter().rev().take_while(|visit| visit.from >= since).any(|visit| visit.member == member)
    }
}

async fn serve(desk: Arc<Desk>, stream: TcpStream) -> io::Result<()> {
    let mut stream = Arc::new(stream);
    while let Some(head) = read_head(&stream).await? {
        let goes_on = answer(&desk, &mut stream, &head).await?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Requests have no bodies here.
async fn read_head(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    loop {
        stream.readable().await?;
        let mut part = [0; 4_096];
        match stream.try_read(&mut part) {
            Ok(0) => return Ok(None),
            Ok(length) => head.extend(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if head.ends_with(b"\r\n\r\n") {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let named = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
    Some(head.lines().skip(1).find(named)?.split_once(':')?.1.trim())
}

/// The member's name is the secret of its API key.
fn member(head: &str) -> Option<String> {
    let basic = header(head, "authorization")?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(basic).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

/// Whether the connection can be used again.
async fn answer(desk: &Arc<Desk>, stream: &mut Arc<TcpStream>, head: &str) -> io::Result<bool> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let name = last.split(['.', '?']).next().unwrap_or_default();
    let Some(number) = Recording::number_of(name).filter(|_| !last.contains(".json")) else {
        let status = if name.starts_with("AC") { "200 OK" } else { "404 Not Found" };
        return say(stream, status, "", b"{}").await.map(|()| true);
    };
    let Some(member) = member(head) else {
        return say(stream, "401 Unauthorized", "", b"").await.map(|()| true);
    };
    let recording = Recording::new(desk.seed, number);
    let (visit, time) = desk.begin(&recording, member, stream);
    let refused = match recording.temper {
        Temper::NotReady if time <= 1 + number % 2 => Some("404 Not Found"),
        Temper::Failing if time == 1 => Some("500 Internal Server Error"),
        Temper::Limited if time == 1 => Some("429 Too Many Requests"),
        _ => None,
    };
    let ended = match refused {
        Some(status) => say(stream, status, "Retry-After: 1\r\n", b"{}").await.map(|()| false),
        None => send(stream, &recording, head, time).await,
    };
    desk.end(visit, number, *ended.as_ref().unwrap_or(&false));
    ended?;
    Ok(refused.is_some() || recording.temper != Temper::Cut || time > 1)
}

async fn say(stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    write(stream, &[head.as_bytes(), body].concat()).await
}

/// Whether all of it went out.
async fn send(stream: &TcpStream, recording: &Recording, head: &str, time: u32) -> io::Result<bool> {
    let media = recording.media();
    let tag = format!("\"{}\"", recording.number);
    let is_same = header(head, "if-range").is_none_or(|other| other == tag);
    let from =
        header(head, "range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.filter(|from| is_same && *from < media.len()).unwrap_or(0);
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", media.len() - 1, media.len());
    let (status, range) = if from > 0 { ("206 Partial Content", range) } else { ("200 OK", String::new()) };
    let rest = media.slice(from..);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: audio/mpeg\r\nETag: {tag}\r\n{range}Content-Length: {}\r\n\r\n",
        rest.len()
    );
    write(stream, head.as_bytes()).await?;
    let is_cut = recording.temper == Temper::Cut && time == 1;
    let sent = if is_cut { rest.slice(..rest.len() / 2) } else { rest };
    slowly(stream, sent, recording.takes).await?;
    Ok(!is_cut)
}

async fn slowly(stream: &TcpStream, mut media: Bytes, takes: Duration) -> io::Result<()> {
    let steps = usize::try_from(takes.as_millis() / STEP.as_millis()).unwrap().max(1);
    let part = media.len().div_ceil(steps);
    while !media.is_empty() {
        let mut byte = [0];
        let gone = stream.peek(&mut byte);
        tokio::select! {
            () = tokio::time::sleep(STEP) => {}
            // Nothing but an end comes from a client that waits for its answer.
            _ = gone => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        write(stream, &media.split_to(part.min(media.len()))).await?;
    }
    Ok(())
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Desk {
    /// What has ended already is ended in the book first: a client closes its connection before it gives its slot back,
    /// so the socket knows of it, whether or not this process was told.
    fn begin(&self, recording: &Recording, member: String, stream: &Arc<TcpStream>) -> (usize, u32) {
        let mut book = self.book.lock().unwrap();
        let Book { visits, open, .. } = &mut *book;
        open.retain(|visit, stream| {
            let is_here = visits[*visit].business_id != recording.business_id || is_open(stream);
            if !is_here {
                visits[*visit].until = Some(moment());
            }
            is_here
        });
        let number = visits.len();
        visits.push(Visit {
            member,
            business_id: recording.business_id,
            recording_sid: recording.recording_sid(),
            from: moment(),
            until: None,
            whole: false,
        });
        open.insert(number, Arc::clone(stream));
        let time = book.times.entry(recording.number).or_default();
        *time += 1;
        (number, *time)
    }

    fn end(&self, visit: usize, number: u32, whole: bool) {
        let mut book = self.book.lock().unwrap();
        if book.open.remove(&visit).is_some() {
            book.visits[visit].until = Some(moment());
        }
        book.visits[visit].whole = whole;
        if whole {
            book.whole.insert(number);
        }
    }
}

fn is_open(stream: &TcpStream) -> bool {
    let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
