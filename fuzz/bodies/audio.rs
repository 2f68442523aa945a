//! The walk over any bytes: it ends, panics never, counts no more than came, and says the same however they come.

use callspool::{
    adapters::audio::AudioWalker,
    domain::{
        audio::{AudioKind, AudioRules, NotAudio, SNIFF_LEN, Walked},
        details::Details,
        ports::AudioProbe,
    },
};
use std::time::Duration;

/// The first byte says in which pieces the rest comes.
pub fn run(data: &[u8]) {
    let Some((pieces, body)) = data.split_first() else { return };
    let step = usize::from(*pieces) * 61 + 1;
    let sniffed = AudioKind::sniff(&body[..body.len().min(SNIFF_LEN)]);
    for kind in [AudioKind::Mp3, AudioKind::Wav] {
        let whole = AudioWalker.walk(kind, body);
        let in_pieces = walk(kind, body, step);
        assert_eq!(whole.is_ok(), in_pieces.is_ok(), "{kind:?}: {whole:?}, in pieces {in_pieces:?}");
        let Ok(walked) = whole else { continue };
        assert_eq!(Ok(walked), in_pieces, "{kind:?}");
        assert_eq!(walked.total, body.len() as u64);
        assert!(walked.other <= walked.total, "{walked:?}");
        // 8 kbit/s is the least that MPEG has, and a WAV has less than 2 kB/s only where nobody speaks.
        assert!(walked.plays <= Duration::from_secs(walked.total), "{walked:?}");
        if sniffed == Some(kind) {
            let rules = AudioRules { tolerance: Duration::ZERO };
            let judged = rules.judge(&walked, &Details::default());
            assert!(judged.is_err() || judged == Ok(walked.plays));
        }
    }
}

fn walk(kind: AudioKind, body: &[u8], step: usize) -> Result<Walked, NotAudio> {
    let mut walk = AudioWalker.begin(kind);
    for piece in body.chunks(step) {
        walk.feed(piece)?;
    }
    walk.finish()
}
