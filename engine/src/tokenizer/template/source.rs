//! A template's text before it is compiled: tags that only training reads, and limits on what the compiler is given, because it
//! calls itself for everything that is nested.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::error::{Error, Result};

/// Longest template, in bytes; published ones have at most some 20,000.
const MAX_BYTES: usize = 512 << 10;
/// Blocks inside blocks, every `elif` counted as one.
const MAX_BLOCKS: usize = 128;
/// Operators and brackets in one tag: all could be nested.
const MAX_OPERATORS: usize = 600;

/// `{% generation %}` and `{% endgeneration %}` say which text a model is trained on. They become tags that do nothing, so that
/// white space around them goes or stays as before.
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
    for token in tokenize(source, false, syntax.clone()) {
        // What is wrong is told by the compiler.
        let Ok((token, span)) = token else { break };
        match &token {
            Token::BlockStart | Token::VariableStart => {
                (first, operators, assigns) = (None, 0, false);
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
        check(&"{% if a %}{% endif %}{{ not x }}".repeat(5_000), &syntax).unwrap();
    }
}
