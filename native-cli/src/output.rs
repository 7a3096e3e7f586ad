//! Standard output, and files that are whole or not there. A reader that goes away (`onebit inspect m.1bit | head`) ends the program quietly, where `println!` panics.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Write `text` now; ends the program when nobody can read it.
pub fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            eprintln!("error: cannot write to standard output: {e}");
            std::process::exit(1);
        }
    }
}

/// `println!` through [`write()`].
macro_rules! outln {
    () => { $crate::output::write("\n") };
    ($($arg:tt)*) => { $crate::output::write(&(format!($($arg)*) + "\n")) };
}
pub(crate) use outln;

/// Let `write` make a file beside `output`, which then takes its place: an interruption leaves no half file under its name, and an
/// error what was there.
pub fn replace<T>(output: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let mut draft = output.as_os_str().to_owned();
    draft.push(".part");
    let draft = Path::new(&draft);
    write(draft)
        .and_then(|result| {
            std::fs::rename(draft, output)
                .with_context(|| format!("cannot write {}", output.display()))?;
            Ok(result)
        })
        .inspect_err(|_| {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(draft);
        })
}
