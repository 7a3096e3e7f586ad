//! Markdown as a list of pieces, from which the page makes nodes.
//!
//! Safe by construction: there are only these elements, an address is one of a few kinds, and everything else, raw HTML too, is text.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag};
use serde::{Deserialize, Serialize};

/// Elements inside elements; what is nested deeper stands in the last of these.
const DEEPEST: usize = 24;
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
}

/// What stands on its own: a paragraph, a list, a table.
pub type Block = Vec<Piece>;

/// The blocks of `text`.
pub fn parse(text: &str) -> Vec<Block> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut out = Blocks::default();
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(tag) => out.start(tag),
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
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => out.text(&text),
        }
    }
    out.done
}

#[derive(Default)]
struct Blocks {
    done: Vec<Block>,
    block: Block,
    /// For everything that is open: whether it has an element of its own.
    open: Vec<bool>,
    elements: usize,
}

impl Blocks {
    fn start(&mut self, tag: Tag) {
        self.open(match tag {
            // Raw HTML is text in a paragraph.
            Tag::Paragraph | Tag::HtmlBlock => Some(Element::Paragraph),
            Tag::Heading { level, .. } => Some(Element::Heading(match level {
                HeadingLevel::H1 => 1,
                HeadingLevel::H2 => 2,
                HeadingLevel::H3 => 3,
                HeadingLevel::H4 => 4,
                HeadingLevel::H5 => 5,
                HeadingLevel::H6 => 6,
            })),
            Tag::BlockQuote(_) => Some(Element::Quote),
            Tag::CodeBlock(CodeBlockKind::Fenced(language)) => {
                Some(Element::CodeBlock(language.to_string()))
            }
            Tag::CodeBlock(CodeBlockKind::Indented) => Some(Element::CodeBlock(String::new())),
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
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => link(&dest_url),
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
            self.done.push(std::mem::take(&mut self.block));
        }
    }

    fn text(&mut self, text: &str) {
        match self.block.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.block.push(Piece::Text(text.to_owned())),
        }
    }
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
    fn shown(text: &str) -> String {
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
            shown("# One\ntwo *three* **four**\n\n- `five`\n- six"),
            "<Heading(1)>One</><Paragraph>two <Emphasis>three</> <Strong>four</></>\
             <List><Item><Code>five</></><Item>six</></>"
        );
        assert_eq!(parse("one\n\ntwo\n\n---").len(), 3);
        assert_eq!(
            shown("| a |\n|---|\n| b |"),
            "<Table><Heads><Cell>a</></><Row><Cell>b</></></>"
        );
        assert_eq!(shown("```rust\nfn\n```"), "<CodeBlock(\"rust\")>fn\n</>");
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
            assert!(shown(html).contains('<') && shown(html).contains(&html[..4]));
        }
    }

    #[test]
    fn links_lead_to_places_only() {
        assert!(shown("[a](https://b.c)").contains("Link(\"https://b.c\")"));
        assert!(shown("<mailto:a@b.c>").contains("Link"));
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
                shown(&format!("[a]({address})")).matches("Link").count(),
                0,
                "{address}"
            );
        }
        // Never an element that fetches.
        assert_eq!(
            shown("![a cat](https://b.c/d.png)"),
            "<Paragraph><Link(\"https://b.c/d.png\")>a cat</></>"
        );
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
