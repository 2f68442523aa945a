//! What a recording has to be. A name or a content type may say anything (incident 19), and so may the first bytes: the
//! whole content is walked while it is stored, and what the walk found is judged here.

use super::{
    details::Details,
    failure::{Failure, FailureCode},
};
use std::time::Duration;

/// Bytes of the beginning that [`AudioKind::sniff`] wants to see; fewer are fine when the file is shorter.
pub const SNIFF_LEN: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioKind {
    Mp3,
    Wav,
}

impl AudioKind {
    /// `None`: neither an MPEG audio frame, nor an `ID3v2` tag, nor a WAV header begins here.
    pub fn sniff(head: &[u8]) -> Option<Self> {
        match head {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'I', b'D', b'3', major, ..] if *major <= 4 => Some(Self::Mp3),
            [0xFF, second, third, ..] if is_mpeg_layer3(*second, *third) => Some(Self::Mp3),
            _ => None,
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
        }
    }
}

/// The second and third byte of an MPEG audio frame header (the standard 11172-3, section 2.4.2.3): eleven sync bits, a
/// version that is not reserved, layer III, a bit rate and a sampling rate that exist.
fn is_mpeg_layer3(second: u8, third: u8) -> bool {
    let sync = second & 0xE0 == 0xE0;
    let version = (second >> 3) & 0b11;
    let layer = (second >> 1) & 0b11;
    let bit_rate = third >> 4;
    let sampling_rate = (third >> 2) & 0b11;
    sync && version != 0b01 && layer == 0b01 && bit_rate != 0 && bit_rate != 0b1111 && sampling_rate != 0b11
}

/// A tag before the audio, such as a picture of it, that is passed over; in bytes.
pub const MAX_TAG: u64 = 1 << 20;
/// So much that is no audio is always allowed, in bytes: tags, and chunks with other things.
const OTHER_ALWAYS: u64 = 4 * 1024;
/// The share of all that may be no audio: one in so many bytes.
const OTHER_SHARE: u64 = 10;
/// After so many bytes it must have become likely that this is audio.
const DOUBT_UNTIL: u64 = 256 * 1024;
/// Of the announced duration, how much may always be missing: one in so many.
const MISSING_SHARE: u32 = 20;

/// Why something is not the recording that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAudio {
    #[error("the recording is empty")]
    Empty,
    #[error("the content is neither MP3 nor WAV")]
    Unknown,
    #[error("the provider answered with {0}, which is no audio")]
    Announced(String),
    #[error("no whole MPEG frame is in it")]
    NoFrames,
    #[error("its tag of {0} bytes is longer than {MAX_TAG}")]
    Tag(u64),
    #[error("its WAV header cannot be right: {0}")]
    Header(&'static str),
    #[error("{other} of {total} bytes are no audio")]
    Other { other: u64, total: u64 },
    #[error("it plays {played_ms} ms where {announced_ms} ms were announced")]
    TooShort { played_ms: u64, announced_ms: u64 },
}

impl From<NotAudio> for Failure {
    fn from(error: NotAudio) -> Self {
        Self::new(FailureCode::BadAudio, error.to_string())
    }
}

/// Refuses what says itself that it is a page or an error. Types that say nothing, such as `application/octet-stream`,
/// and those of other audio leave it to the content. `content_type`: lower case, without parameters.
pub fn announced_as(content_type: Option<&str>) -> Result<(), NotAudio> {
    // As suffixes they stand in `application/problem+json` and the like (RFC 6839).
    let is_text = |of: &str| {
        of.starts_with("text/") || ["/json", "+json", "/xml", "+xml"].iter().any(|end| of.ends_with(end))
    };
    match content_type {
        Some(of) if is_text(of) => Err(NotAudio::Announced(of.to_owned())),
        _ => Ok(()),
    }
}

/// What a walk over a whole body found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Counted over frames, or samples.
    pub plays: Duration,
    /// The file's own word for it, where it has one.
    pub announced: Option<Duration>,
    /// Bytes, all of them.
    pub total: u64,
    /// Bytes that belong to no frame, no sample and no header.
    pub other: u64,
}

/// Sampling rate and channels that a WAV header may say: those of telephones, studios, and what lies between.
pub fn is_plausible(rate: u32, channels: usize) -> bool {
    (2_000..=384_000).contains(&rate) && (1..=32).contains(&channels)
}

/// In the middle of a walk: whether it can still end well. What is mostly no audio by now is given up before all of it
/// was paid for.
pub fn hopeful(total: u64, other: u64) -> Result<(), NotAudio> {
    if total >= DOUBT_UNTIL && other > total / 2 { Err(NotAudio::Other { other, total }) } else { Ok(()) }
}

/// What is taken for the recording that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioRules {
    /// How much shorter than announced it may be; a twentieth of the announced duration where that is more.
    pub tolerance: Duration,
}

impl AudioRules {
    /// How long it plays, where it is what it should be. Longer than announced is fine: nothing of it is missing.
    pub fn judge(self, walked: &Walked, details: &Details) -> Result<Duration, NotAudio> {
        let Walked { plays, announced, total, other } = *walked;
        if other > OTHER_ALWAYS.max(total / OTHER_SHARE) {
            return Err(NotAudio::Other { other, total });
        }
        let by_provider = details.duration_s.map(|seconds| Duration::from_secs(seconds.into()));
        for announced in [announced, by_provider].into_iter().flatten() {
            let missing = announced.saturating_sub(plays);
            if missing > self.tolerance.max(announced / MISSING_SHARE) {
                return Err(NotAudio::TooShort { played_ms: millis(plays), announced_ms: millis(announced) });
            }
        }
        Ok(plays)
    }
}

/// Of a recording; a u64 has room for more than anybody can say.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AudioRules = AudioRules { tolerance: Duration::from_secs(2) };

    fn walked(seconds: u64) -> Walked {
        Walked { plays: Duration::from_secs(seconds), announced: None, total: seconds * 4_000, other: 0 }
    }

    fn details(seconds: u32) -> Details {
        Details { duration_s: Some(seconds), ..Details::default() }
    }

    #[test]
    fn a_recording_may_be_a_little_shorter_than_announced_and_longer_as_it_likes() {
        for (plays, announced, is_right) in [
            (10, 10, true),
            (8, 10, true),
            (7, 10, false),
            (96, 100, true),
            (94, 100, false),
            (60, 10, true),
            (0, 2, true),
        ] {
            let judged = RULES.judge(&walked(plays), &details(announced));
            assert_eq!(judged.is_ok(), is_right, "{plays} s of {announced}: {judged:?}");
        }
        let said = RULES.judge(&walked(7), &details(10)).unwrap_err().to_string();
        assert_eq!(said, "it plays 7000 ms where 10000 ms were announced");
        assert_eq!(RULES.judge(&walked(7), &Details::default()), Ok(Duration::from_secs(7)));
    }

    #[test]
    fn a_files_own_word_counts_like_the_providers() {
        let of_itself = Walked { announced: Some(Duration::from_mins(1)), ..walked(10) };
        assert!(matches!(
            RULES.judge(&of_itself, &details(10)),
            Err(NotAudio::TooShort { announced_ms: 60_000, .. })
        ));
    }

    #[test]
    fn a_little_that_is_no_audio_is_allowed() {
        for (total, other, is_right) in [(1_000, 1_000, true), (5_000, 4_097, false), (100_000, 10_000, true)] {
            let judged = RULES.judge(&Walked { total, other, ..walked(1) }, &Details::default());
            assert_eq!(judged.is_ok(), is_right, "{other} of {total}");
        }
        assert!(hopeful(DOUBT_UNTIL - 1, DOUBT_UNTIL - 1).is_ok());
        assert!(hopeful(DOUBT_UNTIL, DOUBT_UNTIL / 2 + 1).is_err());
    }

    #[test]
    fn a_page_and_an_error_say_themselves_that_they_are_no_audio() {
        for of in ["text/html", "text/plain", "application/json", "application/xml", "application/problem+json"] {
            assert_eq!(announced_as(Some(of)), Err(NotAudio::Announced(of.to_owned())));
        }
        for of in
            [Some("audio/mpeg"), Some("audio/x-wav"), Some("application/octet-stream"), Some("video/mp4"), None]
        {
            assert_eq!(announced_as(of), Ok(()), "{of:?}");
        }
    }

    #[test]
    fn content_decides() {
        assert_eq!(AudioKind::sniff(&[0xFF, 0xFB, 0x90, 0x00]), Some(AudioKind::Mp3));
        assert_eq!(AudioKind::sniff(b"ID3\x04\x00\x00\x00\x00\x00\x00"), Some(AudioKind::Mp3));
        assert_eq!(AudioKind::sniff(b"RIFF\x24\x00\x00\x00WAVEfmt "), Some(AudioKind::Wav));
    }

    #[test]
    fn pages_json_and_noise_are_not_audio() {
        for other in [&b"<!DOCTYPE html>"[..], b"{\"code\":20404}", b"", b"\xFF\xFF\xFF\xFF", b"RIFF\0\0\0\0AVI "] {
            assert_eq!(AudioKind::sniff(other), None, "{other:?}");
        }
    }
}
