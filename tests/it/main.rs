//! One binary: what the tests share, then a file for each behaviour.

mod support;

mod architecture;
mod compose;
mod demo;
mod docs;
mod recording;
