//! Standard output. A reader that goes away (`onebit inspect m.1bit | head`) ends the program quietly, where `println!` panics.

use std::io::{ErrorKind, Write};

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
