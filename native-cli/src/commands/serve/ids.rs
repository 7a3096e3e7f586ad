//! Names for answers, messages and calls.

use crate::model::random_seed;

/// `PREFIX` and 24 hexadecimal digits.
pub fn new(prefix: &str) -> String {
    format!("{prefix}{:016x}{:08x}", random_seed(), random_seed() as u32)
}

/// Of a call: nine letters and digits, which Mistral's templates insist on.
pub fn call() -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut seed = random_seed();
    let mut id = String::with_capacity(9);
    for _ in 0..9 {
        id.push(char::from(DIGITS[(seed % 62) as usize]));
        seed /= 62;
    }
    id
}
