//! Words of messages for people.

use alloc::format;
use alloc::string::String;

/// A number with its noun: `1 file`, `2 files`.
///
/// ```
/// use ternary_core::words::counted;
///
/// assert_eq!(counted(1u64, "file"), "1 file");
/// assert_eq!(counted(0usize, "reply"), "0 replies");
/// assert_eq!(counted(3usize, "matrix"), "3 matrices");
/// assert_eq!(counted(2usize, "batch of sequences"), "2 batches of sequences");
/// ```
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 {
        return format!("1 {noun}");
    }
    let (word, rest) = noun.split_at(noun.find(" of ").unwrap_or(noun.len()));
    let last = |before: &str| before.ends_with(['a', 'e', 'i', 'o', 'u']);
    let plural = if let Some(stem) = word.strip_suffix("trix") {
        format!("{stem}trices")
    } else if let Some(stem) = word.strip_suffix('y').filter(|stem| !last(stem)) {
        format!("{stem}ies")
    } else if word.ends_with("ch") || word.ends_with(['s', 'x']) {
        format!("{word}es")
    } else {
        format!("{word}s")
    };
    format!("{count} {plural}{rest}")
}
