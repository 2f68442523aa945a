//! The locks of what threads share, by one name: `tests/model` compiles what uses them with locks that try every order.

pub use std::sync::{Mutex, MutexGuard};
