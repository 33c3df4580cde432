//! A program under a pseudo-terminal, as a person at a keyboard has it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{PATIENCE, wait_until};

/// What the terminal says it is, in characters.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };

/// A program and the keyboard and screen it has.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What was shown and is not yet expected, with its control sequences.
    shown: Vec<u8>,
}

impl Terminal {
    /// Starts `command` with a terminal for its standard streams.
    pub(crate) fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        tcsetwinsize(&master, SIZE).expect("sized");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let side = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("opened");
        let copy = || side.try_clone().expect("a descriptor");
        let child = command
            .env("TERM", "xterm")
            .stdin(copy())
            .stdout(copy())
            .stderr(side)
            .spawn()
            .expect("the program starts");
        // The command holds descriptors of the program's side, and with them its end open.
        drop(command);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().expect("a descriptor");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            // Fails once the program's side is closed.
            while let Ok(len @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, shown: Vec::new() }
    }

    /// Presses keys; `\r` is Enter, `\t` Tab, `\x04` Ctrl-D.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the program reads");
    }

    /// Waits until `text` is shown, behind what was expected before; control sequences count only
    /// if `text` has some.
    ///
    /// # Panics
    /// If it never is.
    pub(crate) fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(end) = end_of(&self.shown, text) {
                self.shown.drain(..end);
                return;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.screen.recv_timeout(left) {
                Ok(more) => self.shown.extend(more),
                Err(e) => {
                    panic!("{text:?} is not shown ({e}), but:\n{}", self.shown.escape_ascii())
                }
            }
        }
    }

    /// Waits for the end of the program.
    pub(crate) fn wait(mut self) -> ExitStatus {
        wait_until("the program to leave", || self.child.try_wait().expect("it is ours"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where in `shown` the first `text` ends.
fn end_of(shown: &[u8], text: &str) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    // The bytes that count, and where each is.
    let mut plain = Vec::new();
    let mut places = Vec::new();
    let with_control = text.contains('\x1b');
    let mut at = 0;
    while at < shown.len() {
        if !with_control && shown[at..].starts_with(b"\x1b[") {
            let parameters = &shown[at + 2..];
            let len = parameters.iter().position(|byte| (b'@'..=b'~').contains(byte))?;
            at += 2 + len + 1;
            continue;
        }
        plain.push(shown[at]);
        places.push(at);
        at += 1;
    }
    let start = plain.windows(text.len()).position(|window| window == text.as_bytes())?;
    Some(places[start + text.len() - 1] + 1)
}
