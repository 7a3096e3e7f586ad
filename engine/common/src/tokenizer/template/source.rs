//! A template's text before it is compiled: tags that only training reads, and limits on what the
//! compiler is given, because it calls itself for everything that is nested.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::error::{Error, Result};

/// Longest template, in bytes; published ones have at most some 20,000.
const MAX_BYTES: usize = 512 << 10;
/// Blocks inside blocks, every `elif` counted as one.
const MAX_BLOCKS: usize = 128;
/// Operators and brackets in one tag: all could be nested.
const MAX_OPERATORS: usize = 600;

/// Bytes that the literals of one tag may grow to when they are multiplied: the compiler works that
/// out before anything is measured.
const MAX_LITERAL: u64 = 1 << 20;

/// What is written out in one tag.
#[derive(Default)]
struct Literals {
    /// Bytes of texts, and brackets of lists.
    bytes: u64,
    /// Of all whole numbers.
    product: u64,
    multiplied: bool,
}

impl Literals {
    fn see(&mut self, token: &Token) {
        match token {
            Token::Str(text) => self.bytes += text.len() as u64,
            Token::String(text) => self.bytes += text.len() as u64,
            Token::BracketOpen | Token::ParenOpen => self.bytes += 1,
            Token::Int(n) => self.product = self.product.max(1).saturating_mul((*n).max(1)),
            Token::Int128(_) => self.product = u64::MAX,
            Token::Mul => self.multiplied = true,
            _ => {}
        }
    }

    fn too_large(&self) -> bool {
        self.multiplied && self.product.saturating_mul(self.bytes) > MAX_LITERAL
    }
}

/// `{% generation %}` and `{% endgeneration %}` say which text a model is trained on. They become
/// tags that do nothing, so that white space around them goes or stays as before.
pub(super) fn without_training_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out += before;
        rest = tag;
        let end = tag.find("%}").unwrap_or(tag.len());
        let inside = &tag[..end];
        let trim = |c: char| c.is_whitespace() || c == '-' || c == '+';
        for (word, neutral) in [("generation", "if true"), ("endgeneration", "endif")] {
            if inside.trim_matches(trim) == word {
                out += &inside.replace(word, neutral);
                rest = &tag[end..];
            }
        }
    }
    out + rest
}

/// Refuse what the compiler could not take apart on a small stack.
pub(super) fn check(source: &str, syntax: &SyntaxConfig) -> Result<()> {
    let refuse = |what: String| Err(Error::Template(what));
    if source.len() > MAX_BYTES {
        return refuse(format!(
            "it has {} bytes; at most {MAX_BYTES} are read",
            source.len()
        ));
    }
    // How much deeper each open block makes the tree.
    let mut open: Vec<usize> = Vec::new();
    let mut first = None;
    let (mut operators, mut assigns) = (0, false);
    let mut literals = Literals::default();
    for token in tokenize(source, false, syntax.clone()) {
        // What is wrong is told by the compiler.
        let Ok((token, span)) = token else { break };
        literals.see(&token);
        match &token {
            Token::BlockStart | Token::VariableStart => {
                (first, operators, assigns) = (None, 0, false);
                literals = Literals::default();
                if matches!(token, Token::VariableStart) {
                    first = Some("");
                }
                continue;
            }
            Token::BlockEnd => match first {
                Some(
                    "if" | "for" | "macro" | "call" | "filter" | "with" | "block" | "autoescape",
                ) => {
                    open.push(1);
                }
                Some("set") if !assigns => open.push(1),
                Some("elif") => {
                    if let Some(depth) = open.last_mut() {
                        *depth += 1;
                    }
                }
                Some(word) if word.starts_with("end") => {
                    open.pop();
                }
                _ => {}
            },
            Token::Ident(word) if first.is_none() => first = Some(word),
            Token::Ident("not" | "and" | "or" | "if" | "else" | "is" | "in") => operators += 1,
            Token::Ident(_)
            | Token::TemplateData(_)
            | Token::VariableEnd
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::Comma
            | Token::Colon => {}
            Token::Assign => assigns = true,
            _ => operators += 1,
        }
        if operators > MAX_OPERATORS {
            return refuse(format!(
                "line {}: more than {MAX_OPERATORS} operators in one tag",
                span.start_line
            ));
        }
        if literals.too_large() {
            return refuse(format!(
                "line {}: a text or list written out is multiplied to more than {MAX_LITERAL} bytes",
                span.start_line
            ));
        }
        if open.iter().sum::<usize>() > MAX_BLOCKS {
            return refuse(format!(
                "line {}: more than {MAX_BLOCKS} blocks inside each other",
                span.start_line
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_training_become_nothing() {
        let with = "a {%- generation -%} b {%endgeneration+%}{% if generation %}";
        let without = "a {%- if true -%} b {%endif+%}{% if generation %}";
        assert_eq!(without_training_tags(with), without);
        assert_eq!(without_training_tags("{% generation"), "{% if true");
        assert_eq!(without_training_tags("no tag"), "no tag");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let syntax = SyntaxConfig::default();
        for source in [
            format!("{{{{ {}true }}}}", "not ".repeat(10_000)),
            format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)),
            format!("{{{{ 1{} }}}}", "+1".repeat(10_000)),
            format!("{{{{ x{} }}}}", "|f".repeat(10_000)),
            "{% if a %}".repeat(10_000),
            "{% set a %}".repeat(10_000),
            format!("{{% if a %}}{}", "{% elif a %}".repeat(10_000)),
            " ".repeat(1 << 20),
        ] {
            assert!(check(&source, &syntax).is_err(), "{}", &source[..20]);
        }
        for large in [
            "{{ 'x' * 99999999 }}",
            "{{ 99999999 * 'x' }}",
            "{{ 'x' * (9999 * 9999) }}",
            "{% set a = [1] * 9999 * 9999 %}",
            "{{ ('x' * 9999) * 9999 }}",
        ] {
            assert!(check(large, &syntax).is_err(), "{large}");
        }
        check(
            "{{ '-' * 40 }}{{ x[99999999] }}{{ 1000 * 99999999 }}",
            &syntax,
        )
        .unwrap();
        check(&"{% if a %}{% endif %}{{ not x }}".repeat(5_000), &syntax).unwrap();
    }
}
