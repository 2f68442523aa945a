//! Audio, walked as it is downloaded: MPEG frames by the crate `nanomp3`, the head of a WAV file by
//! `symphonia-format-riff`. Nothing is decoded, nothing is read twice, and no thread waits for bytes: a walk keeps a
//! window of at most [`WINDOW`] bytes, and dropping it is all that ending it takes.
//!
//! | file | what it holds |
//! |---|---|
//! | `mpeg` | frames, found by what follows them |
//! | `riff` | the chunks before the samples, and the samples counted |

mod mpeg;
mod riff;

use crate::domain::{
    audio::{AudioKind, NotAudio, Walked},
    ports::{AudioProbe, AudioWalk},
};
use mpeg::MpegWalk;
use riff::RiffWalk;

/// Bytes of a recording that a walk looks at together.
const WINDOW: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, Default)]
pub struct AudioWalker;

impl AudioProbe for AudioWalker {
    fn begin(&self, kind: AudioKind) -> Box<dyn AudioWalk> {
        match kind {
            AudioKind::Mp3 => Box::new(MpegWalk::default()),
            AudioKind::Wav => Box::new(RiffWalk::default()),
        }
    }
}

impl AudioWalker {
    /// All of a body that is there already.
    pub fn walk(self, kind: AudioKind, body: &[u8]) -> Result<Walked, NotAudio> {
        let mut walk = self.begin(kind);
        walk.feed(body)?;
        walk.finish()
    }
}

/// How long so many samples last.
fn lasting(samples: u64, rate: u32) -> std::time::Duration {
    let nanos = u128::from(samples) * 1_000_000_000 / u128::from(rate.max(1));
    std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
