//! A command as a person sees it: on a pseudo-terminal of some width.

use super::{process::Setup, within_patience};
use nix::pty::{Winsize, openpty};
use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
};

/// What a terminal showed, all of it, and how the command ended.
#[derive(Debug)]
pub struct Shown {
    pub code: i32,
    /// As it came, with its escape sequences; lines end in `\r\n`.
    pub raw: String,
}

impl Shown {
    /// Its lines without escape sequences. A line that was drawn over is there as often as it was drawn.
    pub fn lines(&self) -> Vec<String> {
        let plain = console::strip_ansi_codes(&self.raw);
        plain.split(['\r', '\n']).map(str::to_owned).filter(|line| !line.is_empty()).collect()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// In columns.
    pub fn width(&self) -> usize {
        self.lines().iter().map(|line| console::measure_text_width(line)).max().unwrap_or(0)
    }
}

/// The command's standard streams that are the terminal; the others lead to nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Output,
    All,
}

impl Setup {
    /// With the keys `typed`, which the terminal echoes.
    pub async fn show(&self, arguments: &[&str], columns: u16, on: On, typed: &str) -> Shown {
        let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = self.command(arguments);
        command.env("TERM", "xterm-256color").stdout(stream());
        if on == On::All {
            command.stdin(stream()).stderr(stream());
        } else {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().unwrap();
        // The last ends of the slave are the child's: its end ends the reading.
        drop((command, pty.slave));
        let mut master = File::from(pty.master);
        master.write_all(typed.as_bytes()).unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            // Linux ends it with EIO.
            while let Ok(read @ 1..) = master.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..read]);
            }
            String::from_utf8(seen).unwrap()
        });
        let raw = within_patience("the end of what is shown", reading).await.unwrap();
        let status = within_patience("the end of the command", child.wait()).await.unwrap();
        Shown { code: status.code().unwrap_or(-1), raw }
    }
}
