//! MPEG frames. One counts only where others of its kind follow, so that noise has none even if it begins like one; what
//! is counted in a window is therefore what has enough behind it.

use super::{WINDOW, lasting};
use crate::domain::{
    audio::{MAX_TAG, NotAudio, Walked, hopeful},
    ports::AudioWalk,
};
use nanomp3::{Frame, VbrTag, frames, id3v2_len, strip_trailing_tags};
use std::time::Duration;

/// Behind a frame: room for the ten others by which it is known, each as long as it can be.
const BEHIND: usize = 32 * 1024;
/// No frame is longer (layer III at 8 kHz and 160 kbit/s, padded).
const MAX_FRAME: usize = 2_881;
const LAYER_3: u8 = 3;

#[derive(Default)]
pub(super) struct MpegWalk {
    /// What was fed and not counted yet; at most [`WINDOW`] bytes.
    window: Vec<u8>,
    /// Behind the tag that a file may begin with.
    begun: bool,
    /// Bytes of that tag that are still to come.
    tag_left: usize,
    frames: u64,
    plays: Duration,
    total: u64,
    other: u64,
}

impl AudioWalk for MpegWalk {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), NotAudio> {
        self.total += bytes.len() as u64;
        let mut bytes = self.behind_tag(bytes);
        while !bytes.is_empty() {
            let (next, rest) = bytes.split_at(bytes.len().min(WINDOW - self.window.len()));
            self.window.extend_from_slice(next);
            bytes = rest;
            if self.window.len() == WINDOW {
                bytes = if self.begin()? { self.behind_tag(bytes) } else { bytes };
                self.count_full();
                hopeful(self.total - bytes.len() as u64, self.other)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Walked, NotAudio> {
        self.begin()?;
        self.count_rest();
        if self.frames == 0 {
            return Err(NotAudio::NoFrames);
        }
        Ok(Walked { plays: self.plays, announced: None, total: self.total, other: self.other })
    }
}

impl MpegWalk {
    /// Looks once whether the file begins with a tag, and takes it out of the window.
    fn begin(&mut self) -> Result<bool, NotAudio> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(false);
        }
        let tag = id3v2_len(&self.window);
        if tag as u64 > MAX_TAG {
            return Err(NotAudio::Tag(tag as u64));
        }
        let here = tag.min(self.window.len());
        self.window.drain(..here);
        self.tag_left = tag - here;
        Ok(tag > 0)
    }

    fn behind_tag<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let tag = self.tag_left.min(bytes.len());
        self.tag_left -= tag;
        &bytes[tag..]
    }

    /// Counts what has enough behind it, and leaves the rest in the window.
    fn count_full(&mut self) {
        let Some(limit) = self.window.len().checked_sub(BEHIND) else { return };
        let window = std::mem::take(&mut self.window);
        let at = self.count(&window, limit);
        // No frame begins between them.
        let done = at.max(limit);
        self.other += (done - at) as u64;
        self.window = window;
        self.window.drain(..done);
    }

    fn count_rest(&mut self) {
        let window = std::mem::take(&mut self.window);
        let at = self.count(&window, window.len());
        let tail = strip_trailing_tags(&window[at..]);
        if !is_cut_frame(tail) {
            self.other += tail.len() as u64;
        }
    }

    /// Counts the frames that begin up to `limit`; where the last of them ends.
    fn count(&mut self, window: &[u8], limit: usize) -> usize {
        let mut at = 0;
        for frame in frames(window).take_while(|frame| frame.offset <= limit) {
            self.other += (frame.offset - at) as u64;
            at = frame.offset + frame.data.len();
            self.add(&frame);
        }
        at
    }

    fn add(&mut self, frame: &Frame<'_>) {
        if frame.layer != LAYER_3 {
            self.other += frame.data.len() as u64;
        } else if self.frames > 0 || VbrTag::parse(frame.data).is_none() {
            // An encoder's note in the first frame is not played.
            self.frames += 1;
            self.plays += lasting(frame.samples as u64, frame.sample_rate);
        }
    }
}

/// The beginning of a frame, whose rest is missing.
fn is_cut_frame(tail: &[u8]) -> bool {
    match tail {
        [] => true,
        [first] => *first == 0xFF,
        [first, second, ..] => *first == 0xFF && second & 0xE0 == 0xE0 && tail.len() <= MAX_FRAME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::audio::AudioWalker,
        domain::{audio::AudioKind, ports::AudioProbe},
    };
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    /// MPEG-1 layer III, 32 kbit/s, 44.1 kHz, one channel: 104 bytes, 26.122 ms.
    fn frames_of(count: usize) -> Vec<u8> {
        let mut frame = [0; 104];
        frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x10, 0xC4]);
        frame.repeat(count)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        SmallRng::seed_from_u64(7).fill_bytes(&mut bytes);
        bytes
    }

    fn walk(body: &[u8]) -> Result<Walked, NotAudio> {
        AudioWalker.walk(AudioKind::Mp3, body)
    }

    #[test]
    fn every_frame_is_counted_however_the_body_comes() {
        let body = frames_of(5_000);
        let whole = walk(&body).unwrap();
        assert_eq!((whole.plays.as_millis(), whole.total, whole.other), (130_612, 520_000, 0));
        for step in [1, 103, 104, 4_096, 65_535, 65_536, 65_537] {
            let mut walk = AudioWalker.begin(AudioKind::Mp3);
            for part in body.chunks(step) {
                walk.feed(part).unwrap();
            }
            assert_eq!(walk.finish(), Ok(whole), "{step}");
        }
    }

    #[test]
    fn tags_are_passed_over_and_a_last_frame_may_be_cut() {
        let tag = |length: u8| {
            [b"ID3\x04\0\0\0\0".as_slice(), &[length, 1], &noise(usize::from(length) * 128 + 1)].concat()
        };
        for (before, after) in [
            (tag(0), vec![]),
            (tag(127), vec![]),
            (vec![], [b"TAG".as_slice(), &[0; 125]].concat()),
            (vec![], frames_of(1)[..50].to_vec()),
        ] {
            let walked = walk(&[before, frames_of(1_000), after].concat()).unwrap();
            assert_eq!((walked.plays.as_millis(), walked.other), (26_122, 0));
        }
        let endless = [b"ID3\x04\0\0\x7F\x7F\x7F\x7F".as_slice(), &frames_of(1_000)].concat();
        assert_eq!(walk(&endless), Err(NotAudio::Tag(268_435_465)));
    }

    #[test]
    fn noise_behind_a_right_header_has_no_frames_and_is_given_up_early() {
        let mut body = [frames_of(1)[..4].to_vec(), noise(20_000)].concat();
        assert_eq!(walk(&body), Err(NotAudio::NoFrames));
        body.extend(noise(1 << 20));
        let mut walk = AudioWalker.begin(AudioKind::Mp3);
        let fed = body.chunks(16_384).take_while(|part| walk.feed(part).is_ok()).count();
        assert!(fed * 16_384 < 400_000, "{fed} parts were looked at");
    }

    #[test]
    fn noise_between_frames_is_counted_as_such() {
        let walked = walk(&[frames_of(2_000), noise(50_000), frames_of(2_000)].concat()).unwrap();
        assert!((50_000..53_000).contains(&walked.other), "{walked:?}");
        assert!((103_000..104_489).contains(&walked.plays.as_millis()), "{walked:?}");
    }

    #[test]
    fn other_layers_and_pages_are_no_mp3() {
        for body in [
            b"<html>".repeat(1_000),
            [0xFF, 0xFB, 0x10, 0xC4].to_vec(),
            vec![],
            vec![0xFF; 10_000],
            vec![0; 10_000],
        ] {
            assert_eq!(walk(&body), Err(NotAudio::NoFrames));
        }
    }
}
