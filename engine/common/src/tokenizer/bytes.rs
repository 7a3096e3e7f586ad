//! The bytes that a token of a vocabulary stands for.

/// GPT-2's alphabet: printable bytes are themselves, the others follow from U+0100 on in their
/// order.
fn byte(c: char) -> Option<u8> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u8::try_from(u32::from(c)) {
        Ok(b) => Some(b).filter(printable),
        Err(_) => {
            let index = u32::from(c).checked_sub(0x100)? as usize;
            (0..=255).filter(|b| !printable(b)).nth(index)
        }
    }
}

/// With a byte-level decoder, or one in SentencePiece's manner: `▁` is a space and `<0x0A>` a byte.
pub fn of_token(token: &str, byte_level: bool) -> Vec<u8> {
    if byte_level {
        // A token with other characters was added as it is.
        let bytes: Option<Vec<u8>> = token.chars().map(byte).collect();
        return bytes.unwrap_or_else(|| token.as_bytes().to_vec());
    }
    let code = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(b) => vec![b],
        None => token.replace('▁', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabets_are_undone() {
        let all = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut bytes: Vec<u8> = all.into_iter().filter_map(byte).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(of_token("Ġcat", true), b" cat");
        assert_eq!(of_token("漢", true), "漢".as_bytes());
        assert_eq!(of_token("▁cat", false), b" cat");
        assert_eq!(of_token("<0x0A>", false), b"\n");
    }
}
