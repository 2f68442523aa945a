//! Where a panic happened. The process's panic hook knows, and whoever catches the panic does not: the hook runs before
//! the stack is unwound, on the same thread, and leaves the place for the one who catches it there.

use std::cell::RefCell;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From the hook: the last panic of this thread was here.
pub fn note(file: &str, line: u32) {
    let place = format!("{}:{line}", within_its_crate(file));
    // A thread that is ending has no such place any more.
    let _ = LAST.try_with(|last| last.replace(Some(place)));
}

/// Right after a panic was caught: where it was, such as `src/actors/listener.rs:12`. Never its message, which may carry
/// data. `None` where the hook is not ours.
pub fn take() -> Option<String> {
    LAST.try_with(RefCell::take).ok().flatten()
}

/// The machine's folders are nobody's business: `…/tokio-1.0.0/src/time.rs` is `tokio-1.0.0/src/time.rs`.
fn within_its_crate(file: &str) -> &str {
    let is_ours = file.starts_with("src/");
    let Some((folders, _)) = file.rsplit_once("/src/").filter(|_| !is_ours) else {
        return if is_ours { file } else { file.rsplit('/').next().unwrap_or(file) };
    };
    &file[folders.rfind('/').map_or(0, |slash| slash + 1)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_a_crate_and_not_of_a_machine() {
        for (file, place) in [
            ("src/actors/listener.rs", "src/actors/listener.rs"),
            ("/home/me/.cargo/registry/src/index-1/tokio-1.0.0/src/time.rs", "tokio-1.0.0/src/time.rs"),
            ("/rustc/0123/library/core/src/option.rs", "core/src/option.rs"),
            ("/home/me/build.rs", "build.rs"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(within_its_crate(file), place);
        }
    }

    #[test]
    fn the_last_place_of_a_thread_is_told_once() {
        note("src/first.rs", 1);
        note("src/second.rs", 2);
        std::thread::spawn(|| assert_eq!(take(), None)).join().unwrap();
        assert_eq!(take().as_deref(), Some("src/second.rs:2"));
        assert_eq!(take(), None);
    }
}
