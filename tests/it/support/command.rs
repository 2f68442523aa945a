//! Commands of the real binary, and what they said.

use super::process::Setup;
use serde_json::Value;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// One value a line.
    pub fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Setup {
    pub async fn say(&self, arguments: &[&str]) -> Said {
        self.say_with(arguments, "").await
    }

    /// With `input` on the standard input.
    pub async fn say_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Said {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input closes it.
        let _ = stdin.write_all(input.as_ref()).await;
        drop(stdin);
        let output = super::within_patience("the end of the command", child.wait_with_output()).await.unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
