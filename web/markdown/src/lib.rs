//! Markdown as a list of pieces, from which the page makes nodes.
//!
//! Safe by construction: there are only these elements, an address is one of a few kinds, and
//! everything else, raw HTML too, is text.

mod calls;
mod hidden;
mod highlight;
mod math;
mod thoughts;

use std::borrow::Cow;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use serde::{Deserialize, Serialize};

pub use calls::split_calls;
use hidden::{formula, hide, shown};
pub use math::{ATTRIBUTES as MATH_ATTRIBUTES, PARTS as MATH_PARTS};
use thoughts::Part;

/// Elements inside elements; what is nested deeper stands in the last of these.
const DEEPEST: usize = 24;
/// Markdown behind a line break that stands where HTML begins, within such Markdown.
const DEEPEST_BREAK: usize = 4;
/// What a link may lead to.
const SCHEMES: [&str; 3] = ["https://", "http://", "mailto:"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    Open(Element),
    Text(String),
    /// Ends the last element that is open.
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    Paragraph,
    /// From 1 to 6.
    Heading(u8),
    Quote,
    List,
    /// From this number on.
    Numbered(u64),
    Item,
    /// In this language, if it is not empty.
    CodeBlock(String),
    Code,
    Emphasis,
    Strong,
    Struck,
    /// To this address.
    Link(String),
    Rule,
    Table,
    Row,
    Heads,
    Cell,
    /// Where a line breaks inside a paragraph.
    Break,
    /// In code.
    Comment,
    /// A text in quotes, in code.
    Literal,
    Number,
    Keyword,
    /// A formula; whether it stands on lines of its own.
    Math(bool),
    /// Part of a formula: one of [`MATH_PARTS`], and its attributes, of [`MATH_ATTRIBUTES`].
    MathPart(usize, Vec<(usize, String)>),
    /// What the model wrote for itself. It opens in a block of its own and closes in one: what
    /// stands between them are blocks like others, so that a long thought that grows is drawn as
    /// any text that grows.
    Thought,
}

/// What stands on its own: a paragraph, a list, a table.
pub type Block = Vec<Piece>;

/// The blocks of `text`, without the calls behind it.
pub fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (text, _) = split_calls(text);
    for part in thoughts::parts(text) {
        match part {
            Part::Said(text) => blocks.extend(markdown(text, 0)),
            Part::Thought(text, closed) => {
                blocks.push(vec![Piece::Open(Element::Thought)]);
                blocks.extend(markdown(text, 0));
                if closed {
                    blocks.push(vec![Piece::Close]);
                }
            }
        }
    }
    blocks
}

/// What is said in `text`, without the thoughts of one that begins with them.
pub fn said(text: &str) -> Cow<'_, str> {
    if !thoughts::begin(text) {
        return Cow::Borrowed(text);
    }
    let parts = thoughts::parts(text).into_iter();
    let said = parts.filter_map(|part| match part {
        Part::Said(text) => Some(text),
        Part::Thought(..) => None,
    });
    Cow::Owned(said.collect())
}

/// What is said in `text`, without any thought in it and the calls behind it: to be taken
/// elsewhere.
pub fn without_thoughts(text: &str) -> Cow<'_, str> {
    let (text, _) = split_calls(text);
    let parts = thoughts::parts(text);
    if !parts.iter().any(|part| matches!(part, Part::Thought(..))) {
        return Cow::Borrowed(text);
    }
    let said = parts.iter().filter_map(|part| match part {
        Part::Said(text) => Some(text.trim()),
        Part::Thought(..) => None,
    });
    Cow::Owned(said.collect::<Vec<_>>().join("\n\n"))
}

/// The blocks of a text without thoughts, which stands inside so many others.
fn markdown(text: &str, deep: usize) -> Vec<Block> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH;
    let text = hide(text);
    let mut out = Blocks {
        deep,
        ..Blocks::default()
    };
    for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::HtmlBlock) => out.html = Some(String::new()),
            Event::End(TagEnd::HtmlBlock) => out.end_html(),
            Event::Start(tag) => out.start(tag),
            Event::End(TagEnd::CodeBlock) => out.end_code(),
            Event::End(_) => out.end(),
            Event::Code(text) => {
                out.open(Some(Element::Code));
                out.text(&text);
                out.end();
            }
            // The page shows line breaks as they were written.
            Event::SoftBreak | Event::HardBreak => out.text("\n"),
            Event::Rule => {
                out.open(Some(Element::Rule));
                out.end();
            }
            Event::TaskListMarker(done) => out.text(if done { "☑ " } else { "☐ " }),
            Event::Html(text) | Event::InlineHtml(text) => out.markup(&text),
            // "From $5 to $10" is about money.
            Event::InlineMath(_) if text[range.end..].starts_with(|c: char| c.is_ascii_digit()) => {
                out.text(&text[range]);
            }
            Event::InlineMath(latex) => out.math(&latex, false, &text[range]),
            Event::DisplayMath(latex) => out.math(&latex, true, &text[range]),
            Event::Text(text) | Event::FootnoteReference(text) => out.text(&text),
        }
    }
    out.done
}

#[derive(Default)]
struct Blocks {
    done: Vec<Block>,
    /// The Markdown that this one stands in.
    deep: usize,
    /// The language of a block of code, and the code so far.
    code: Option<(String, String)>,
    /// A block of raw HTML so far.
    html: Option<String>,
    block: Block,
    /// For everything that is open: whether it has an element of its own.
    open: Vec<bool>,
    elements: usize,
}

impl Blocks {
    fn start(&mut self, tag: Tag) {
        if let Tag::CodeBlock(kind) = &tag {
            let language = match kind {
                CodeBlockKind::Fenced(language) => shown(language).into_owned(),
                CodeBlockKind::Indented => String::new(),
            };
            self.code = Some((language.clone(), String::new()));
            return self.open(Some(Element::CodeBlock(language)));
        }
        self.open(match tag {
            Tag::Paragraph => Some(Element::Paragraph),
            Tag::Heading { level, .. } => Some(Element::Heading(match level {
                HeadingLevel::H1 => 1,
                HeadingLevel::H2 => 2,
                HeadingLevel::H3 => 3,
                HeadingLevel::H4 => 4,
                HeadingLevel::H5 => 5,
                HeadingLevel::H6 => 6,
            })),
            Tag::BlockQuote(_) => Some(Element::Quote),
            Tag::List(Some(first)) => Some(Element::Numbered(first)),
            Tag::List(None) => Some(Element::List),
            Tag::Item => Some(Element::Item),
            Tag::Table(_) => Some(Element::Table),
            Tag::TableHead => Some(Element::Heads),
            Tag::TableRow => Some(Element::Row),
            Tag::TableCell => Some(Element::Cell),
            Tag::Emphasis => Some(Element::Emphasis),
            Tag::Strong => Some(Element::Strong),
            Tag::Strikethrough => Some(Element::Struck),
            // A picture would be fetched: its description leads there instead.
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => link(&shown(&dest_url)),
            _ => None,
        });
    }

    fn open(&mut self, element: Option<Element>) {
        let element = element.filter(|_| self.elements < DEEPEST);
        self.open.push(element.is_some());
        if let Some(element) = element {
            self.elements += 1;
            self.block.push(Piece::Open(element));
        }
    }

    fn end(&mut self) {
        if self.open.pop() == Some(true) {
            self.elements -= 1;
            self.block.push(Piece::Close);
        }
        if self.open.is_empty() && !self.block.is_empty() {
            let mut block = std::mem::take(&mut self.block);
            for piece in &mut block {
                // The parser hands a text over in parts: a sign that is hidden may be in two.
                if let Piece::Text(text) = piece
                    && let Cow::Owned(shown) = shown(text)
                {
                    *text = shown;
                }
            }
            self.done.push(block);
        }
    }

    /// A formula, or its `source` where it can't be read.
    fn math(&mut self, latex: &str, on_its_own: bool, source: &str) {
        let room = self.code.is_none() && self.elements < DEEPEST;
        let latex = formula(latex).filter(|_| room);
        match latex.and_then(|latex| math::pieces(latex, on_its_own)) {
            Some(pieces) => self.block.extend(pieces),
            None => self.text(source),
        }
    }

    fn end_code(&mut self) {
        if let Some((language, code)) = self.code.take() {
            self.block
                .extend(highlight::pieces(&language, &shown(&code)));
        }
        self.end();
    }

    fn text(&mut self, text: &str) {
        if let Some((_, code)) = &mut self.code {
            return code.push_str(text);
        }
        match self.block.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.block.push(Piece::Text(text.to_owned())),
        }
    }

    /// Raw HTML: text, but for line breaks.
    fn markup(&mut self, text: &str) {
        if let Some(html) = &mut self.html {
            return html.push_str(text);
        }
        let mut rest = text;
        while let Some((at, length)) = find_break(rest) {
            if at > 0 {
                self.text(&rest[..at]);
            }
            self.open(Some(Element::Break));
            self.end();
            rest = &rest[at + length..];
        }
        if !rest.is_empty() {
            self.text(rest);
        }
    }

    /// Raw HTML is text in a paragraph. A line break is no reason to take what follows for HTML.
    fn end_html(&mut self) {
        let html = self.html.take().unwrap_or_default();
        let mut rest = html.trim_start();
        while let Some((0, length)) = find_break(rest) {
            rest = rest[length..].trim_start();
        }
        let after_break = rest.len() < html.trim_start().len();
        if after_break && self.open.is_empty() && self.deep < DEEPEST_BREAK {
            return self.done.extend(markdown(rest, self.deep + 1));
        }
        self.open(Some(Element::Paragraph));
        self.markup(html.trim_end());
        self.end();
    }
}

/// The first `<br>` in any spelling, and its length.
fn find_break(text: &str) -> Option<(usize, usize)> {
    text.match_indices('<').find_map(|(at, _)| {
        let (inner, _) = text[at + 1..].split_once('>')?;
        let name = inner.trim_matches(|c: char| c == '/' || c.is_whitespace());
        name.eq_ignore_ascii_case("br")
            .then_some((at, inner.len() + 2))
    })
}

/// None for an address that is more than a place to go to.
fn link(address: &str) -> Option<Element> {
    let allowed = SCHEMES.iter().any(|scheme| {
        address
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    allowed.then(|| Element::Link(address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks as tags and text, for comparing.
    fn told(text: &str) -> String {
        let mut out = String::new();
        for piece in parse(text).iter().flatten() {
            match piece {
                Piece::Open(element) => out += &format!("<{element:?}>"),
                Piece::Text(text) => out += text,
                Piece::Close => out += "</>",
            }
        }
        out
    }

    #[test]
    fn blocks_and_spans() {
        assert_eq!(
            told("# One\ntwo *three* **four**\n\n- `five`\n- six"),
            "<Heading(1)>One</><Paragraph>two <Emphasis>three</> <Strong>four</></>\
             <List><Item><Code>five</></><Item>six</></>"
        );
        assert_eq!(parse("one\n\ntwo\n\n---").len(), 3);
        assert_eq!(
            told("| a |\n|---|\n| b |"),
            "<Table><Heads><Cell>a</></><Row><Cell>b</></></>"
        );
        assert_eq!(
            told("```rust\nfn\n```"),
            "<CodeBlock(\"rust\")><Keyword>fn</>\n</>"
        );
    }

    #[test]
    fn formulas_in_dollars_and_in_brackets() {
        let x = |on_its_own: bool| format!("<Math({on_its_own})><MathPart(0, [])>x</></>");
        for text in ["$x$", "\\(x\\)", "\\( x \\)"] {
            assert_eq!(
                told(&format!("a {text}.")),
                format!("<Paragraph>a {}.</>", x(false))
            );
        }
        for text in ["$$x$$", "\\[x\\]", "\\[\nx\n\\]", "$$\nx\n$$"] {
            assert_eq!(told(text), format!("<Paragraph>{}</>", x(true)));
        }
        // Stars and lines below belong to it.
        assert_eq!(told("$a_1 * b_1$ *c*").matches("Emphasis").count(), 1);
        // Neither money nor code nor brackets that end nowhere.
        for text in [
            "From $5 to $10.",
            "$5-$10",
            "a $ b",
            "\\(x",
            "$\\unknown{x}$",
            "\\[x\n\ny\\]",
        ] {
            assert!(!told(text).contains("Math"), "{text}: {}", told(text));
        }
        assert_eq!(told("From $5 to $10."), "<Paragraph>From $5 to $10.</>");
        assert_eq!(
            told("`sed 's/\\(a\\)/x/'`"),
            "<Paragraph><Code>sed 's/\\(a\\)/x/'</></>"
        );
        assert_eq!(
            told("```\n\\[a\n b\\]\n```"),
            "<CodeBlock(\"\")>\\[a\n b\\]\n</>"
        );
        assert_eq!(told("\\(\\frac{a\\)"), "<Paragraph>\\(\\frac{a\\)</>");
        assert_eq!(
            told("To $10, `\\(code\\)`, \\(x\\)"),
            format!("<Paragraph>To $10, <Code>\\(code\\)</>, {}</>", x(false))
        );
    }

    #[test]
    fn html_is_text() {
        for html in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<div onclick=x>\n\ntext\n\n</div>",
            "<!-- no --> <a href='javascript:x'>y</a>",
        ] {
            let pieces = parse(html).concat();
            assert!(
                pieces.iter().all(
                    |piece| !matches!(piece, Piece::Open(element) if *element != Element::Paragraph)
                ),
                "{pieces:?}"
            );
            assert!(told(html).contains('<') && told(html).contains(&html[..4]));
        }
    }

    #[test]
    fn links_lead_to_places_only() {
        assert!(told("[a](https://b.c)").contains("Link(\"https://b.c\")"));
        assert!(told("<mailto:a@b.c>").contains("Link"));
        for address in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "java&#10;script:alert(1)",
            "<\u{1}javascript:alert(1)>",
            "data:text/html,x",
            "vbscript:x",
            "//elsewhere",
            "relative",
        ] {
            assert_eq!(
                told(&format!("[a]({address})")).matches("Link").count(),
                0,
                "{address}"
            );
        }
        // Never an element that fetches.
        assert_eq!(
            told("![a cat](https://b.c/d.png)"),
            "<Paragraph><Link(\"https://b.c/d.png\")>a cat</></>"
        );
    }

    /// "~5 km" is about a distance.
    #[test]
    fn single_tildes_are_letters() {
        for text in [
            "Price ~$5 (was ~$10).",
            "from ~/notes to ~/backup",
            "~one~ and a~b~c",
            "\\~5 and ~6",
            "~",
        ] {
            let plain = text.replace('\\', "");
            assert_eq!(told(text), format!("<Paragraph>{plain}</>"));
        }
        assert_eq!(
            told("~5, ~~two~~ and *~6* `~7 ~8` [~](https://a.b/~c)"),
            "<Paragraph>~5, <Struck>two</> and <Emphasis>~6</> <Code>~7 ~8</> <Link(\"https://a.b/~c\")>~</></>"
        );
        // They part no other spans.
        assert_eq!(told("~a *b~ c*"), "<Paragraph>~a <Emphasis>b~ c</></>");
        assert_eq!(told("~~~\n~x\n~~~"), "<CodeBlock(\"\")>~x\n</>");
    }

    /// No spaces part words there.
    #[test]
    fn bold_beside_punctuation_of_languages_without_spaces() {
        for (text, bold) in [
            ("这是**“重点”**内容", "“重点”"),
            ("**注意：**请看", "注意："),
            ("これは**「大事」**です。", "「大事」"),
            ("**重要（必读）**说明", "重要（必读）"),
            ("请看**《红楼梦》**。", "《红楼梦》"),
            ("한국**(중요)**어", "(중요)"),
        ] {
            let shown = told(text);
            assert!(
                shown.contains(&format!("<Strong>{bold}</>")),
                "{text}: {shown}"
            );
            let plain: String = shown.replace("<Strong>", "**").replace("</>", "**");
            assert_eq!(
                plain.replace("<Paragraph>", "").trim_end_matches("**"),
                text.trim_end_matches("**")
            );
        }
        assert_eq!(
            told("**甲**：**乙**，*丙*。"),
            "<Paragraph><Strong>甲</>：<Strong>乙</>，<Emphasis>丙</>。</>"
        );
        // Code and products stay.
        assert_eq!(told("中`a*（b*中`"), "<Paragraph>中<Code>a*（b*中</></>");
        assert_eq!(told("2 * 3 * 4"), "<Paragraph>2 * 3 * 4</>");
    }

    #[test]
    fn br_breaks_the_line() {
        for tag in ["<br>", "<br/>", "<br />", "<BR>", "</br>"] {
            assert_eq!(
                told(&format!("one{tag}two")),
                "<Paragraph>one<Break></>two</>"
            );
            assert_eq!(
                told(&format!("| a |\n|---|\n| b{tag}c |")),
                "<Table><Heads><Cell>a</></><Row><Cell>b<Break></>c</></></>"
            );
        }
        // Where HTML may begin, too: what follows is Markdown all the same.
        assert_eq!(
            told("<br>\n\n**one**\n<br>\n*two*\n\n<br>\n*three*"),
            "<Paragraph><Strong>one</>\n<Break></>\n<Emphasis>two</></><Paragraph><Emphasis>three</></>"
        );
        assert_eq!(told("`<br>`"), "<Paragraph><Code><br></></>");
        // Deep in such lines nothing overflows.
        parse(&"<br>\n# a\n".repeat(20_000));
        // No other tag does.
        assert!(told("<brr> <b>").contains("<brr> <b>"));
    }

    #[test]
    fn thoughts_stand_between_blocks_of_their_own() {
        assert_eq!(
            told("<think>\n*Hm.*\n\nYes.\n</think>\n\n**Hello!**"),
            "<Thought><Paragraph><Emphasis>Hm.</></><Paragraph>Yes.</></><Paragraph><Strong>Hello!</></>"
        );
        assert_eq!(said("<think>Hm.</think>Yes."), "Yes.");
        assert_eq!(said("<think>Hm."), "");
        assert_eq!(said("Yes. <think>"), "Yes. <think>");
        assert_eq!(without_thoughts("Hm.\n</think>\n\nYes."), "Yes.");
        assert_eq!(
            without_thoughts("<think>a</think>\nb\n\n<think>c</think>\nd"),
            "b\n\nd"
        );
        assert_eq!(without_thoughts(" as it is "), " as it is ");
        // Of one that grows only the end is new.
        let (before, after) = (parse("<think>\na\n\nb"), parse("<think>\na\n\nb\n\nc"));
        assert_eq!(before[..], after[..3]);
    }

    /// Every element that is opened is closed, and none is deeper than a browser can lay out.
    #[test]
    fn odd_nesting_stays_shallow() {
        for text in [
            "> ".repeat(5000) + "deep",
            "* ".repeat(2000) + "deep",
            "**a *b ~~c** d* e~~ `f".to_owned(),
            "[".repeat(5000),
            "- a\n".repeat(3) + &"  - b\n".repeat(3) + "```",
        ] {
            for block in parse(&text) {
                let (mut depth, mut deepest) = (0, 0);
                for piece in &block {
                    match piece {
                        Piece::Open(_) => depth += 1,
                        Piece::Close => depth -= 1,
                        Piece::Text(_) => {}
                    }
                    deepest = deepest.max(depth);
                }
                assert!(depth == 0 && deepest <= DEEPEST, "{depth} {deepest}");
            }
        }
    }
}
