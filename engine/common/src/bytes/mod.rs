//! Where a file's bytes come from and go to: memory, a file, a browser's file handle.

#[cfg(feature = "native")]
mod file;
mod sink;
mod source;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

#[cfg(feature = "native")]
pub use file::{FileSink, FileSource};
pub use sink::{ByteSink, MemorySink};
pub use source::{ByteSource, MemorySource};

/// A future that need not be `Send`: the browser has one thread, the command line blocks.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An amount of memory, shown in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}
