//! A reply as the Markdown it is.
//!
//! Only the nodes below come out of a model's text, and all of the text is in text nodes: it is
//! never taken for markup.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use leptos::{html, prelude::*};
use ternary_markdown::{Block, Element, MATH_ATTRIBUTES, MATH_PARTS, Piece, split_calls};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Document, HtmlElement, Node};

use super::{Chat, use_chat};
use crate::js::describe;
use crate::ui::page::{Page, use_page};

/// Between two drawings of a reply that grows.
const PAUSE: Duration = Duration::from_millis(30);
/// The namespace of formulas.
const MATHML: &str = "http://www.w3.org/1998/Math/MathML";
/// The class of what the parser has seen.
const PARSED: &str = "reply";

#[component]
pub fn Rendered(text: ArcRwSignal<String>) -> impl IntoView {
    let (chat, page) = (use_chat(), use_page());
    let node = NodeRef::<html::Div>::new();
    let drawing = StoredValue::new_local(None::<Rc<Drawing>>);
    let grown = text.clone();
    Effect::new(move |_| {
        grown.track();
        let Some(node) = node.get() else { return };
        if drawing.with_value(Option::is_none) {
            drawing.set_value(Some(Drawing::begin(chat, grown.clone(), node.into())));
        }
        drawing.with_value(|drawing| drawing.iter().for_each(|drawing| drawing.draw()));
    });
    on_cleanup(move || {
        if let Some(drawing) = drawing.try_get_value().flatten() {
            chat.reader().leave(drawing.id.get());
        }
    });
    view! { <div class="reply plain" node_ref=node on:click=move |event| copy_code(page, &event)></div> }
}

/// Draws a text that grows: again when it has grown since the parser was asked, with a pause
/// between.
struct Drawing {
    chat: Chat,
    text: ArcRwSignal<String>,
    node: HtmlElement,
    /// The parser's number for it.
    id: Cell<u32>,
    /// The parser has not answered yet, and whether the text grew meanwhile.
    asked: Cell<bool>,
    grown: Cell<bool>,
    /// What stands for every block.
    shown: RefCell<Vec<Shown>>,
}

/// What stands for a block.
enum Shown {
    Node(Node),
    /// A thought begins: its disclosure, and what the blocks of it go into.
    Thought(HtmlElement, Node),
    /// The thought before has ended.
    End,
}

impl Drawing {
    fn begin(chat: Chat, text: ArcRwSignal<String>, node: HtmlElement) -> Rc<Self> {
        let drawing = Rc::new(Self {
            chat,
            text,
            node,
            id: Cell::new(0),
            asked: Cell::new(false),
            grown: Cell::new(false),
            shown: RefCell::new(Vec::new()),
        });
        let receiver = Rc::downgrade(&drawing);
        drawing.id.set(chat.reader().enter(Rc::new(move |answer| {
            if let Some(drawing) = receiver.upgrade() {
                drawing.on_blocks(answer);
            }
        })));
        drawing
    }

    fn draw(&self) {
        // Tells everyone that what is shown is not all.
        self.node.set_attribute("aria-busy", "true").ok();
        if self.node.class_name() != PARSED {
            self.plain();
        }
        if self.asked.replace(true) {
            return self.grown.set(true);
        }
        let (reader, id) = (self.chat.reader(), self.id.get());
        self.text.with_untracked(|text| reader.read(id, text));
    }

    fn on_blocks(self: Rc<Self>, answer: Option<(usize, Vec<Block>)>) {
        match answer {
            Some((same, blocks)) => self.put(same, &blocks),
            None => self.plain(),
        }
        self.asked.set(false);
        self.chat.drawn.notify();
        if self.grown.take() {
            // No animation frame: a tab that is not seen has none.
            set_timeout(move || self.draw(), PAUSE);
        } else {
            self.node.remove_attribute("aria-busy").ok();
        }
    }

    /// Replaces what stands behind the blocks that are the same.
    fn put(&self, same: usize, blocks: &[Block]) {
        let shown = &mut *self.shown.borrow_mut();
        if self.node.class_name() != PARSED {
            self.node.set_text_content(None);
            self.node.set_class_name(PARSED);
            shown.clear();
        }
        for gone in shown.drain(same.min(shown.len())..) {
            let node = match gone {
                Shown::Node(node) => node,
                Shown::Thought(disclosure, _) => disclosure.into(),
                Shown::End => continue,
            };
            if let Some(parent) = node.parent_node() {
                // It is there: its parent was asked.
                parent.remove_child(&node).ok();
            }
        }
        let last = shown
            .iter()
            .rev()
            .find(|shown| !matches!(shown, Shown::Node(_)));
        let mut inside: Node = match last {
            Some(Shown::Thought(_, inner)) => inner.clone(),
            _ => self.node.clone().into(),
        };
        let document = document();
        // Creating and joining fresh nodes of known names does not fail.
        let put = |inside: &Node, node: &Node| inside.append_child(node).ok();
        for block in blocks {
            match block.as_slice() {
                [Piece::Open(Element::Thought)] => {
                    if let Ok((disclosure, inner)) = disclosure(&document) {
                        put(&inside, &disclosure);
                        inside = inner.clone();
                        shown.push(Shown::Thought(disclosure, inner));
                    }
                }
                [Piece::Close] => {
                    inside = self.node.clone().into();
                    shown.push(Shown::End);
                }
                block => {
                    if let Ok(made) = build(&document, block) {
                        put(&inside, &made);
                        shown.push(Shown::Node(made));
                    }
                }
            }
        }
        let mut ended = false;
        for shown in shown.iter().rev() {
            match shown {
                Shown::End => ended = true,
                Shown::Thought(disclosure, _) => {
                    disclosure.set_class_name(if ended {
                        "thought"
                    } else {
                        "thought unfinished"
                    });
                    ended = false;
                }
                Shown::Node(_) => {}
            }
        }
    }

    fn plain(&self) {
        self.node.set_class_name("reply plain");
        self.text.with_untracked(|text| {
            let (said, _) = split_calls(text);
            self.node.set_text_content(Some(said));
        });
    }
}

/// What a thought is folded into, and what its text goes into.
fn disclosure(document: &Document) -> Result<(HtmlElement, Node), JsValue> {
    let made: HtmlElement = document.create_element("details")?.unchecked_into();
    let summary = document.create_element("summary")?;
    summary.set_text_content(Some("Thoughts"));
    made.append_child(&summary)?;
    let inner = document.create_element("div")?;
    made.append_child(&inner)?;
    Ok((made, inner.into()))
}

/// A block as one node.
fn build(document: &Document, block: &[Piece]) -> Result<Node, JsValue> {
    let (root, inner, rest) = match block {
        [Piece::Open(element), rest @ ..] => {
            let (root, inner) = make(document, element, false)?;
            (root, inner, rest)
        }
        text => {
            let paragraph = document.create_element("p")?;
            paragraph.set_attribute("dir", "auto")?;
            let paragraph: Node = paragraph.into();
            (paragraph.clone(), paragraph, text)
        }
    };
    let mut open = vec![inner];
    let mut in_heads = false;
    for piece in rest {
        let Some(last) = open.last() else { break };
        match piece {
            Piece::Text(text) => {
                last.append_child(&document.create_text_node(text))?;
            }
            Piece::Open(element) => {
                match element {
                    Element::Heads => in_heads = true,
                    Element::Row => in_heads = false,
                    _ => {}
                }
                let (outer, inner) = make(document, element, in_heads)?;
                last.append_child(&outer)?;
                open.push(inner);
            }
            Piece::Close if open.len() > 1 => drop(open.pop()),
            Piece::Close => {}
        }
    }
    Ok(root)
}

/// An element: its node, and the one that its contents go into.
fn make(document: &Document, element: &Element, in_heads: bool) -> Result<(Node, Node), JsValue> {
    if let Element::Math(_) | Element::MathPart(..) = element {
        let node: Node = make_math(document, element)?.into();
        return Ok((node.clone(), node));
    }
    let name = match element {
        Element::Paragraph => "p",
        // The page's own headings stand above.
        Element::Heading(1) => "h3",
        Element::Heading(2) => "h4",
        Element::Heading(3) => "h5",
        Element::Heading(_) => "h6",
        Element::Quote => "blockquote",
        Element::List => "ul",
        Element::Numbered(_) => "ol",
        Element::Item => "li",
        Element::CodeBlock(_) => "pre",
        Element::Code => "code",
        Element::Emphasis => "em",
        Element::Strong => "strong",
        Element::Struck => "del",
        Element::Link(_) => "a",
        Element::Rule => "hr",
        Element::Table => "table",
        Element::Heads | Element::Row => "tr",
        Element::Cell if in_heads => "th",
        Element::Cell => "td",
        Element::Break => "br",
        // Made of blocks.
        Element::Thought => "div",
        // Made above.
        Element::Math(_) | Element::MathPart(..) => "math",
        Element::Comment | Element::Literal | Element::Number | Element::Keyword => "span",
    };
    let made = document.create_element(name)?;
    let node: Node = made.clone().into();
    match element {
        Element::Numbered(first) => {
            made.set_attribute("start", &first.to_string())?;
            made.set_attribute("dir", "auto")?;
        }
        Element::Link(address) => {
            made.set_attribute("href", address)?;
            made.set_attribute("title", address)?;
            made.set_attribute("target", "_blank")?;
            made.set_attribute("rel", "noopener noreferrer")?;
        }
        // Right to left where its first letter is.
        Element::Paragraph
        | Element::Heading(_)
        | Element::List
        | Element::Item
        | Element::Cell => {
            made.set_attribute("dir", "auto")?;
        }
        Element::Comment => made.set_class_name("comment"),
        Element::Literal => made.set_class_name("literal"),
        Element::Number => made.set_class_name("number"),
        Element::Keyword => made.set_class_name("keyword"),
        Element::Table => return Ok((within(document, "wide", &node)?, node)),
        Element::CodeBlock(language) => {
            // What is too wide is scrolled with the keyboard too.
            made.set_attribute("tabindex", "0")?;
            made.set_attribute("role", "region")?;
            made.set_attribute("aria-label", format!("Code {language}").trim())?;
            let frame = within(document, "code", &node)?;
            // Browsers give the clipboard only to pages nobody on the way could have changed.
            if window().is_secure_context() {
                let button = document.create_element("button")?;
                button.set_attribute("type", "button")?;
                button.set_class_name("quiet copy-code");
                button.set_text_content(Some("Copy code"));
                frame.insert_before(&button, Some(&node))?;
            }
            let code: Node = document.create_element("code")?.into();
            node.append_child(&code)?;
            return Ok((frame, code));
        }
        _ => {}
    }
    Ok((node.clone(), node))
}

/// A formula, or an element of one.
fn make_math(document: &Document, element: &Element) -> Result<web_sys::Element, JsValue> {
    let (name, attributes) = match element {
        Element::MathPart(part, attributes) => (MATH_PARTS.get(*part), attributes.as_slice()),
        _ => (None, [].as_slice()),
    };
    let made = document.create_element_ns(Some(MATHML), name.copied().unwrap_or("math"))?;
    if let Element::Math(true) = element {
        made.set_attribute("display", "block")?;
        // What is too wide is scrolled with the keyboard too.
        made.set_attribute("tabindex", "0")?;
    }
    for (attribute, value) in attributes {
        if let Some(name) = MATH_ATTRIBUTES.get(*attribute) {
            made.set_attribute(name, value)?;
        }
    }
    Ok(made)
}

/// A frame around a node.
fn within(document: &Document, class: &str, node: &Node) -> Result<Node, JsValue> {
    let frame = document.create_element("div")?;
    frame.set_class_name(class);
    frame.append_child(node)?;
    Ok(frame.into())
}

/// For a click on a code block's button.
fn copy_code(page: Page, event: &web_sys::MouseEvent) {
    let button = event
        .target()
        .and_then(|target| target.dyn_into::<HtmlElement>().ok())
        .filter(|target| target.class_name().contains("copy-code"));
    let Some(button) = button else { return };
    let code = button.next_sibling().and_then(|code| code.text_content());
    let clipboard = window().navigator().clipboard();
    let copying = clipboard.write_text(&code.unwrap_or_default());
    spawn_local(async move {
        match JsFuture::from(copying).await {
            Ok(_) => button.set_text_content(Some("Copied")),
            Err(thrown) => page.fail("The code could not be copied", describe(thrown)),
        }
    });
}
