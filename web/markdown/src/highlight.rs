//! What stands out in code, whatever its language: comments, texts, numbers and words that most
//! languages keep for themselves.

use super::{Element, Piece};

/// Code longer than this stays plain: a reply is drawn again and again while it grows.
const LONGEST: usize = 40_000;

const KEYWORDS: [&str; 88] = [
    "abstract",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "begin",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "continue",
    "def",
    "default",
    "del",
    "do",
    "double",
    "elif",
    "else",
    "elseif",
    "end",
    "enum",
    "except",
    "export",
    "extends",
    "extern",
    "false",
    "final",
    "finally",
    "float",
    "fn",
    "for",
    "foreach",
    "from",
    "func",
    "function",
    "global",
    "if",
    "impl",
    "implements",
    "import",
    "in",
    "instanceof",
    "int",
    "interface",
    "is",
    "lambda",
    "let",
    "long",
    "match",
    "mod",
    "mut",
    "namespace",
    "new",
    "nil",
    "None",
    "not",
    "null",
    "or",
    "override",
    "package",
    "pass",
    "private",
    "protected",
    "pub",
    "public",
    "raise",
    "return",
    "select",
    "self",
    "static",
    "struct",
    "super",
    "switch",
    "then",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "use",
    "var",
    "void",
    "while",
];
/// Languages whose comments begin with `#`, and those where they begin with `--`.
const HASH: [&str; 17] = [
    "python",
    "py",
    "bash",
    "sh",
    "shell",
    "zsh",
    "console",
    "ruby",
    "rb",
    "perl",
    "r",
    "yaml",
    "yml",
    "toml",
    "makefile",
    "dockerfile",
    "elixir",
];
const DASHES: [&str; 5] = ["sql", "lua", "haskell", "hs", "ada"];
/// Not code.
const PLAIN: [&str; 5] = ["", "text", "txt", "markdown", "md"];

/// The code as pieces.
pub fn pieces(language: &str, code: &str) -> Vec<Piece> {
    let language = language.split([' ', ',', '{']).next().unwrap_or_default();
    let language = language.to_lowercase();
    if PLAIN.contains(&language.as_str()) || code.len() > LONGEST {
        return vec![Piece::Text(code.to_owned())];
    }
    let mut out = Pieces::default();
    let mut rest = code;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let (length, element) = token(&language, rest, before);
        let (part, after) = rest.split_at(length.max(first.len_utf8()).min(rest.len()));
        out.push(part, element);
        before = part.chars().next_back();
        rest = after;
    }
    out.done()
}

/// How long the first token of a code is, and what it is.
fn token(language: &str, code: &str, before: Option<char>) -> (usize, Option<Element>) {
    let line = code.find('\n').unwrap_or(code.len());
    let is = |languages: &[&str]| languages.contains(&language);
    let hash = is(&HASH);
    let line_comment = match hash {
        // `$#` and `${#` are no comments of a shell.
        true => code.starts_with('#') && before.is_none_or(char::is_whitespace),
        false if is(&DASHES) => code.starts_with("--"),
        false => code.starts_with("//") && before != Some(':'),
    };
    if line_comment {
        return (line, Some(Element::Comment));
    }
    for (open, close) in [("/*", "*/"), ("<!--", "-->")] {
        if !hash && code.starts_with(open) {
            let inner = code[open.len()..].find(close);
            let end = inner.map_or(code.len(), |at| open.len() + at + close.len());
            return (end, Some(Element::Comment));
        }
    }
    for quotes in ["\"\"\"", "'''"] {
        if code.starts_with(quotes) {
            let inner = code[3..].find(quotes);
            return (
                inner.map_or(code.len(), |at| at + 6),
                Some(Element::Literal),
            );
        }
    }
    let first = code.chars().next().unwrap_or_default();
    let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut next = code.chars().skip(1);
    let lifetime = is(&["rust", "rs"]) && next.next() != Some('\\') && next.next() != Some('\'');
    if matches!(first, '"' | '`') || first == '\'' && !inside_word && !lifetime {
        let several = first == '`';
        return match text(code, first, several) {
            Some(length) => (length, Some(Element::Literal)),
            None => (1, None),
        };
    }
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if first.is_ascii_digit() {
        let number = |c: char| word(c) || c == '.';
        let end = code.find(|c| !number(c)).unwrap_or(code.len());
        // "1..5", and the end of a sentence.
        let end = code[..end].find("..").unwrap_or(end);
        let end = code[..end].trim_end_matches('.').len().max(1);
        return (end, Some(Element::Number));
    }
    if first.is_alphabetic() || first == '_' {
        let end = code.find(|c| !word(c)).unwrap_or(code.len());
        let found = &code[..end];
        let keyword = match is(&["sql"]) {
            true => is_sql(found),
            false => KEYWORDS.contains(&found) || matches!(found, "True" | "False"),
        };
        return (end, keyword.then_some(Element::Keyword));
    }
    (first.len_utf8(), None)
}

fn is_sql(word: &str) -> bool {
    const WORDS: [&str; 30] = [
        "select", "from", "where", "and", "or", "not", "insert", "into", "values", "update", "set",
        "delete", "create", "table", "drop", "alter", "join", "left", "right", "inner", "outer",
        "on", "group", "order", "by", "having", "limit", "as", "null", "distinct",
    ];
    WORDS.contains(&word.to_lowercase().as_str())
}

/// The length of a text in quotes; none if its line ends before it does: it is an apostrophe, or a
/// lifetime.
fn text(code: &str, quote: char, several_lines: bool) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in code.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' if !several_lines => return None,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[derive(Default)]
struct Pieces {
    all: Vec<Piece>,
    plain: String,
}

impl Pieces {
    fn push(&mut self, text: &str, element: Option<Element>) {
        let Some(element) = element else {
            return self.plain.push_str(text);
        };
        self.flush();
        let text = Piece::Text(text.to_owned());
        self.all.extend([Piece::Open(element), text, Piece::Close]);
    }

    fn flush(&mut self) {
        if !self.plain.is_empty() {
            self.all.push(Piece::Text(std::mem::take(&mut self.plain)));
        }
    }

    fn done(mut self) -> Vec<Piece> {
        self.flush();
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(language: &str, code: &str) -> String {
        let mut out = String::new();
        for piece in pieces(language, code) {
            match piece {
                Piece::Open(Element::Comment) => out += "<c>",
                Piece::Open(Element::Literal) => out += "<t>",
                Piece::Open(Element::Number) => out += "<n>",
                Piece::Open(_) => out += "<k>",
                Piece::Text(text) => out += &text,
                Piece::Close => out += "</>",
            }
        }
        out
    }

    #[test]
    fn tokens_of_several_languages() {
        assert_eq!(
            told(
                "rust",
                "fn f<'a>(x: &'a str) { // \"no\"\n  let c = 'x'; 0x1f + 2.5 }"
            ),
            "<k>fn</> f<'a>(x: &'a str) { <c>// \"no\"</>\n  <k>let</> c = <t>'x'</>; <n>0x1f</> + <n>2.5</> }"
        );
        assert_eq!(
            told(
                "python",
                "def f(): # it's\n    return \"a \\\" b\" + '''x\ny'''"
            ),
            "<k>def</> f(): <c># it's</>\n    <k>return</> <t>\"a \\\" b\"</> + <t>'''x\ny'''</>"
        );
        assert_eq!(told("bash", "echo $# # all"), "echo $# <c># all</>");
        assert_eq!(told("sql", "SELECT a -- b"), "<k>SELECT</> a <c>-- b</>");
        assert_eq!(
            told("c", "/* a\nb */ x = 1;"),
            "<c>/* a\nb */</> x = <n>1</>;"
        );
        assert_eq!(
            told("js", "fetch(`a\nb`) // https://x"),
            "fetch(<t>`a\nb`</>) <c>// https://x</>"
        );
        assert_eq!(told("", "let it be"), "let it be");
        assert_eq!(told("rust", "0..5"), "<n>0</>..<n>5</>");
    }

    /// Nothing is lost, whatever a model writes.
    #[test]
    fn every_letter_stays() {
        let codes = [
            "\"",
            "'",
            "/*",
            "日本 'x",
            "\\",
            "`a",
            "\"\"\"",
            "a'b'c\n'",
            "é1.",
            "#",
        ];
        for language in ["rust", "python", "sql", "text", "x"] {
            for a in codes {
                for b in codes {
                    let code = format!("{a}{b}");
                    let text: String = pieces(language, &code)
                        .iter()
                        .filter_map(|piece| match piece {
                            Piece::Text(text) => Some(text.as_str()),
                            _ => None,
                        })
                        .collect();
                    assert_eq!(text, code);
                }
            }
        }
    }
}
