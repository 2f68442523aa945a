//! One binary: what the tests share, then a file for each behaviour.

mod support;

mod recording;
