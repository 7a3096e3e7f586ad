//! Being asked to end: Ctrl-C, `kill`, and a terminal that is closed.

/// Why the program is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C (SIGINT).
    Interrupt,
    /// `kill`, or the machine shutting down (SIGTERM).
    Terminate,
    /// The terminal has gone (SIGHUP).
    Hangup,
}

impl Interrupt {
    /// What a program that ends for it exits with: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        match self {
            Interrupt::Interrupt => 130,
            Interrupt::Terminate => 143,
            Interrupt::Hangup => 129,
        }
    }
}

/// Call `handle`, on a thread of its own, each time the program is asked to end; without it the
/// program would end at once.
///
/// # Errors
/// A system that takes no handler.
pub fn on_interrupt(handle: impl Fn(Interrupt) + Send + 'static) -> std::io::Result<()> {
    listen(handle)
}

#[cfg(unix)]
fn listen(handle: impl Fn(Interrupt) + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut wanted = vec![SIGINT, SIGTERM];
    // A program begun with nohup goes on without its terminal.
    if !ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                handle(match signal {
                    SIGTERM => Interrupt::Terminate,
                    SIGHUP => Interrupt::Hangup,
                    _ => Interrupt::Interrupt,
                });
            }
        })?;
    Ok(())
}

/// Whether whoever started the program had the signal ignored. Where the system does not say, a
/// program without any terminal is taken for one that was begun to run on.
#[cfg(unix)]
fn ignored(signal: i32) -> bool {
    use std::io::IsTerminal;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    match mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
        Some(mask) => mask >> (signal - 1) & 1 == 1,
        None => {
            !std::io::stdin().is_terminal()
                && !std::io::stdout().is_terminal()
                && !std::io::stderr().is_terminal()
        }
    }
}

#[cfg(not(unix))]
fn listen(handle: impl Fn(Interrupt) + Send + 'static) -> std::io::Result<()> {
    ctrlc::set_handler(move || handle(Interrupt::Interrupt)).map_err(std::io::Error::other)
}
