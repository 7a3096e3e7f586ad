//! Standard output and error, and files that are whole or not there. A reader of the output that
//! goes away (`onebit inspect m.1bit | head`) ends the program quietly, where `println!` panics;
//! one of the messages ends nothing.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;
use ternary::platform::Draft;
use ternary::train::checkpoint;

/// Write `text` now; ends the program when nobody can read it.
pub fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(e) => {
            errln!("error: cannot write to standard output: {e}");
            exit(1);
        }
    }
}

/// `println!` through [`write()`].
macro_rules! outln {
    () => { $crate::output::write("\n") };
    ($($arg:tt)*) => { $crate::output::write(&(format!($($arg)*) + "\n")) };
}
pub(crate) use outln;

/// Lines for standard error that wait for a reader, at most; later ones are left out.
const WAITING: usize = 1024;
/// A reader that takes nothing for so long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes to standard error on a thread of its own: nobody may be there to read, the disk it goes
/// to may be full, and a pipe that is read no further would hold up a night's training.
struct ErrorWriter {
    lines: SyncSender<String>,
    state: Arc<(Mutex<Progress>, Condvar)>,
}

#[derive(Default)]
struct Progress {
    sent: u64,
    written: u64,
    /// The reader takes nothing.
    stalled: bool,
}

impl ErrorWriter {
    fn get() -> &'static Self {
        static WRITER: OnceLock<ErrorWriter> = OnceLock::new();
        WRITER.get_or_init(|| {
            let (lines, waiting) = sync_channel::<String>(WAITING);
            let state: Arc<(Mutex<Progress>, Condvar)> = Arc::default();
            let shared = state.clone();
            std::thread::spawn(move || {
                for line in waiting {
                    let _ = std::io::stderr().write_all(line.as_bytes());
                    let mut progress = lock(&shared.0);
                    progress.written += 1;
                    progress.stalled = false;
                    shared.1.notify_all();
                }
            });
            ErrorWriter { lines, state }
        })
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether another process speaks for this one.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Write nothing to standard error from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Write to standard error again.
pub fn be_loud() {
    QUIET.store(false, Ordering::Relaxed);
}

/// Whether this process is to show nothing.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Write `text` to standard error, and go on whatever becomes of it.
pub fn write_error(text: &str) {
    if is_quiet() {
        return;
    }
    let writer = ErrorWriter::get();
    let (state, written) = &*writer.state;
    let mut progress = lock(state);
    // Names of files may hold anything.
    if writer.lines.try_send(printable(text)).is_err() {
        return;
    }
    progress.sent += 1;
    let number = progress.sent;
    if progress.stalled {
        return;
    }
    // Usually at once: what is written next to standard output comes after it.
    let waited = written.wait_timeout_while(progress, PATIENCE, |p| p.written < number);
    let (mut progress, result) = waited.unwrap_or_else(PoisonError::into_inner);
    progress.stalled |= result.timed_out();
}

/// Wait until what was written to standard error is there: before the program ends.
pub fn flush_errors() {
    let writer = ErrorWriter::get();
    let (state, written) = &*writer.state;
    let progress = lock(state);
    if !progress.stalled {
        let _ = written.wait_timeout_while(progress, PATIENCE, |p| p.written < p.sent);
    }
}

/// End the program at once, with all that was said.
pub fn exit(code: u8) -> ! {
    flush_errors();
    std::process::exit(i32::from(code))
}

/// Standard error for the log.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        write_error(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `eprintln!` through [`write_error()`].
macro_rules! errln {
    ($($arg:tt)*) => { $crate::output::write_error(&(format!($($arg)*) + "\n")) };
}
pub(crate) use errln;

/// A file's bytes may take its place in one step: `write` makes a file beside `output`, which then
/// gets its name. An interruption leaves no half file under it, an error leaves what was there, and
/// of two programs at work each leaves a whole file. What is no file (a pipe, `/dev/stdout`) gets
/// the bytes at the end.
pub fn replace<T>(output: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let (draft, _) = Draft::beside(output)?;
    let result = write(draft.path())?;
    draft.finish()?;
    Ok(result)
}

/// What models, trainings and texts in folders are read from, by their names and their endings.
const READ: [&str; 19] = [
    "config.json",
    "generation_config.json",
    "training.json",
    "best.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "metrics.jsonl",
    "layers.jsonl",
    ".safetensors",
    ".index.json",
    ".gguf",
    ".jinja",
    ".txt",
    ".jsonl",
];

/// Whether `output` is, or would be, a part of what is read from the folder `input`.
fn is_part(output: &Path, input: &Path) -> bool {
    let Some(name) = output.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let folder = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let inside = || {
        Some(
            folder
                .canonicalize()
                .ok()?
                .starts_with(input.canonicalize().ok()?),
        )
    };
    // Beside texts there may be a tokenizer, which is none of them.
    let is_model = input.join("config.json").is_file() || checkpoint::resolve(input).is_ok();
    let read = |part: &str| match part.starts_with('.') {
        // Others of these may be results of an earlier call.
        true => name.ends_with(part) && output.is_file(),
        false => name == part && is_model,
    };
    input.is_dir() && READ.iter().any(|part| read(part)) && inside() == Some(true)
}

/// Endings that say what a file is.
const KINDS: [&str; 13] = [
    "1bit",
    "csv",
    "gguf",
    "h",
    "json",
    "jsonl",
    "md",
    "parquet",
    "png",
    "safetensors",
    "svg",
    "tokens",
    "txt",
];

/// Refuse a name that promises another kind of file than `kind`, which is the ending of those that
/// are written. `flag` gave it.
pub fn check_kind(flag: &str, output: &Path, kind: &str) -> Result<()> {
    match other_kind(output, kind) {
        Some(other) => bail!(
            "{flag} {}: a .{kind} file is written, and this name promises another kind (.{other}); end it in .{kind}",
            output.display()
        ),
        None => Ok(()),
    }
}

/// The same of a new folder; `then` says what else there is to do.
pub fn check_is_folder(flag: &str, output: &Path, then: &str) -> Result<()> {
    match other_kind(output, "").filter(|_| !output.exists()) {
        Some(kind) => bail!(
            "{flag} {}: a folder is written, and this name promises a file (.{kind}); name a folder{then}",
            output.display()
        ),
        None => Ok(()),
    }
}

fn other_kind(output: &Path, kind: &str) -> Option<String> {
    let ending = output.extension()?.to_str()?.to_ascii_lowercase();
    (ending != kind && KINDS.contains(&&*ending)).then_some(ending)
}

/// Refuse an `--output` for the files of a model folder that cannot be, before anything is worked
/// out: the folder that is read, or one of a training, whose files would be replaced.
pub fn check_folder(output: &Path, input: &Path) -> Result<()> {
    let same = || Some(output.canonicalize().ok()? == input.canonicalize().ok()?);
    let folder = output.display();
    if output.is_dir() && same() == Some(true) {
        bail!("--output {folder} is also what is read; name another folder");
    }
    if output.is_dir() && checkpoint::resolve(output).is_ok() {
        bail!(
            "--output {folder} holds a model or a training already, which is not written over; remove it, or name another folder"
        );
    }
    Ok(())
}

/// Refuse an `--output` that cannot be, before anything is worked out: a folder, one of the
/// `inputs`, or a part of one.
pub fn check(output: &Path, inputs: &[&Path]) -> Result<()> {
    if output.is_dir() {
        bail!(
            "--output {} is a folder; name the file to write, for example {}",
            output.display(),
            output.join("NAME").display()
        );
    }
    if output.as_os_str() == "-" {
        bail!("--output -: this is no text for standard output; name a file");
    }
    if output.file_name().is_none() {
        bail!("--output {} names no file", output.display());
    }
    for input in inputs {
        let same = |a: &Path, b: &Path| Some(a.canonicalize().ok()? == b.canonicalize().ok()?);
        if (same(output, input) == Some(true) && output.is_file()) || is_part(output, input) {
            bail!(
                "--output {} is also what is read; give another name",
                output.display()
            );
        }
    }
    if let Some(folder) = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        bail!(
            "cannot write {}: there is no folder {}",
            output.display(),
            folder.display()
        );
    }
    Ok(())
}

/// As JSON with the digits that the numbers have: an f32 does not get those of the nearest f64.
pub fn json(value: &impl Serialize) -> Result<Value> {
    Ok(serde_json::from_str(&serde_json::to_string(value)?)?)
}

/// `value` with its keys in snake_case: what the page is told in JavaScript's spelling, the command
/// line says in its own.
pub fn snake_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let mut snake = String::new();
                for c in key.chars() {
                    if c.is_ascii_uppercase() {
                        snake.push('_');
                    }
                    snake.push(c.to_ascii_lowercase());
                }
                (snake, snake_case(value))
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(snake_case).collect(),
        other => other,
    }
}

/// Longest message, in characters: what it quotes from a file may be of any length.
const LONGEST_MESSAGE: usize = 4000;

/// A message without its middle where it is too long to be read.
pub fn shortened(message: &str) -> String {
    let count = message.chars().count();
    if count <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let part = LONGEST_MESSAGE / 2;
    let begin: String = message.chars().take(part).collect();
    let end: String = message.chars().skip(count - part).collect();
    format!("{begin} … {} characters … {end}", count - 2 * part)
}

/// A path in JSON: what is not UTF-8 in it is replaced.
pub fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A text of a file or a model as a terminal may have it: without control characters other than
/// tabs and line ends: they could move the cursor or change the colors.
pub fn printable(text: &str) -> String {
    let plain = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if plain(c) => out.push(c),
            '\r' => {}
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}
