//! Formulas, which models write as LaTeX, as MathML.
//!
//! What comes of one is made of the elements and attributes that are listed here, named by their
//! places in these lists, and of text: a formula is as safe as all the rest.

use math_core::{LatexToMathML, MathCoreConfig, MathDisplay};

use crate::{Element, Piece};

/// The elements of formulas.
pub const PARTS: [&str; 24] = [
    "mi",
    "mn",
    "mo",
    "ms",
    "mtext",
    "mspace",
    "mrow",
    "mfrac",
    "msqrt",
    "mroot",
    "mstyle",
    "mpadded",
    "mphantom",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mmultiscripts",
    "mprescripts",
    "mtable",
    "mtr",
    "mtd",
];
/// The attributes of these; none leads anywhere or runs anything.
pub const ATTRIBUTES: [&str; 18] = [
    "accent",
    "accentunder",
    BOXED,
    "depth",
    "displaystyle",
    "form",
    "height",
    "largeop",
    "linethickness",
    "lspace",
    "mathvariant",
    "maxsize",
    "minsize",
    "movablelimits",
    "rspace",
    "scriptlevel",
    "stretchy",
    "width",
];

/// A box around a part. MathML has an element for it that few browsers draw; a border is drawn by
/// all.
const BOXED: &str = "data-boxed";
/// Stands first in what has a box, on its way through the converter. Unicode has no sign there.
const BOX_MARK: char = '\u{e000}';
/// How the converter writes that.
const BOX_BEGINS: &str = "<mrow><mi>\u{e000}</mi>";

/// Longer ones are no formulas.
const LONGEST: usize = 4000;
/// Groups inside groups, and commands in all: the converter calls itself for each.
const DEEPEST_GROUP: usize = 40;
const MOST_COMMANDS: usize = 600;
/// Elements inside elements.
const DEEPEST: usize = 60;

/// A formula's pieces; none if it can't be read, or is made of anything that is not listed.
pub fn pieces(latex: &str, on_its_own: bool) -> Option<Vec<Piece>> {
    if !is_moderate(latex) {
        return None;
    }
    let display = match on_its_own {
        true => MathDisplay::Block,
        false => MathDisplay::Inline,
    };
    let config = MathCoreConfig {
        // How models mark a result.
        macros: vec![("boxed".to_owned(), format!("{{{BOX_MARK}#1}}"))],
        ..MathCoreConfig::default()
    };
    let converter = LatexToMathML::new(config).ok()?;
    let converted = converter.convert_with_local_state(latex, display).ok()?;
    let (_, inner) = converted.mathml.strip_prefix("<math")?.split_once('>')?;
    let inner = inner.strip_suffix("</math>")?;
    let mut pieces = vec![Piece::Open(Element::Math(on_its_own))];
    read(inner, &mut pieces)?;
    pieces.push(Piece::Close);
    Some(pieces)
}

fn is_moderate(latex: &str) -> bool {
    let (mut depth, mut deepest) = (0usize, 0);
    for sign in latex.bytes() {
        match sign {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let commands = latex.bytes().filter(|sign| *sign == b'\\').count();
    latex.len() <= LONGEST && deepest <= DEEPEST_GROUP && commands <= MOST_COMMANDS
}

/// The converter's own markup, which is plain: every element is closed, every value in quotes.
fn read(mut rest: &str, pieces: &mut Vec<Piece>) -> Option<()> {
    let mut open = Vec::new();
    let boxed = ATTRIBUTES.iter().position(|listed| *listed == BOXED)?;
    let row = PARTS.iter().position(|part| *part == "mrow")?;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix(BOX_BEGINS) {
            let attributes = vec![(boxed, String::new())];
            pieces.push(Piece::Open(Element::MathPart(row, attributes)));
            open.push("mrow");
            rest = inside;
            continue;
        }
        let Some(tag) = rest.strip_prefix('<') else {
            let end = rest.find('<').unwrap_or(rest.len());
            pieces.push(Piece::Text(unescaped(&rest[..end])));
            rest = &rest[end..];
            continue;
        };
        let end = end_of(tag)?;
        let inside = &tag[..end];
        rest = &tag[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            (open.pop()? == name).then_some(())?;
            pieces.push(Piece::Close);
            continue;
        }
        let (inside, alone) = match inside.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let (name, attributes) = inside.split_once(' ').unwrap_or((inside, ""));
        let part = PARTS.iter().position(|part| *part == name)?;
        let attributes = read_attributes(attributes)?;
        pieces.push(Piece::Open(Element::MathPart(part, attributes)));
        match alone {
            true => pieces.push(Piece::Close),
            false => open.push(name),
        }
        if open.len() > DEEPEST {
            return None;
        }
    }
    open.is_empty().then_some(())
}

/// Where a tag ends: no sign in quotes ends it.
fn end_of(tag: &str) -> Option<usize> {
    let mut quoted = false;
    tag.bytes().position(|sign| {
        quoted ^= sign == b'"';
        sign == b'>' && !quoted
    })
}

/// Those that are listed; the others are only for looks.
fn read_attributes(text: &str) -> Option<Vec<(usize, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = value.split_once('"')?;
        if let Some(at) = ATTRIBUTES.iter().position(|listed| *listed == name) {
            found.push((at, unescaped(value)));
        }
        rest = after.trim_start();
    }
    Some(found)
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out += &rest[..at];
        let entity = rest[at + 1..].split_once(';');
        let read = entity.and_then(|(name, after)| {
            let sign = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(digits) => u32::from_str_radix(digits, 16),
                        None => number.parse(),
                    };
                    char::from_u32(code.ok()?)?
                }
            };
            Some((sign, after))
        });
        match read {
            Some((sign, after)) => {
                out.push(sign);
                rest = after;
            }
            None => {
                out.push('&');
                rest = &rest[at + 1..];
            }
        }
    }
    out += rest;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As tags, without what is in them but the text.
    fn told(latex: &str) -> Option<String> {
        let mut names = Vec::new();
        let told = pieces(latex, false)?.into_iter().map(|piece| match piece {
            Piece::Open(Element::MathPart(part, _)) => {
                names.push(PARTS[part]);
                format!("<{}>", PARTS[part])
            }
            Piece::Open(_) => {
                names.push("math");
                "<math>".to_owned()
            }
            Piece::Text(text) => text,
            Piece::Close => format!("</{}>", names.pop().unwrap_or("?")),
        });
        let told: String = told.collect();
        assert!(names.is_empty(), "{told}");
        Some(told)
    }

    #[test]
    fn formulas_are_read() {
        assert_eq!(
            told("x^2").as_deref(),
            Some("<math><msup><mi>x</mi><mn>2</mn></msup></math>")
        );
        assert_eq!(
            told(r"\frac{a}{b} < c").as_deref(),
            Some("<math><mfrac><mi>a</mi><mi>b</mi></mfrac><mo><</mo><mi>c</mi></math>")
        );
        for latex in [
            r"\sum_{i=0}^{n} \sqrt[3]{x_i} \leq \int_0^\infty e^{-t}\,dt",
            r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}",
            r"\begin{aligned} a &= b \\ &= c \end{aligned}",
            r"\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
            r"\left( \frac{\partial f}{\partial x} \right)_{y} \approx \hat{\beta} \cdot \vec{v}",
            r"\mathbb{R}^n \to \mathcal{L}, \quad \lVert x \rVert_2 = \mathrm{const}",
            r"P(A \mid B) = \frac{P(B \mid A)\,P(A)}{P(B)}",
            r"\underbrace{a + b}_{\text{sum}} \overline{z} \binom{n}{k} \lim_{x \to 0} \sin x",
            r"\boxed{42}",
        ] {
            assert!(told(latex).is_some(), "{latex}");
        }
    }

    #[test]
    fn a_result_has_a_box() {
        let boxes = |latex: &str| {
            let is_boxed = |piece: &&Piece| {
                matches!(piece, Piece::Open(Element::MathPart(_, attributes))
                    if attributes.iter().any(|(name, _)| ATTRIBUTES[*name] == BOXED))
            };
            let pieces = pieces(latex, true).unwrap_or_default();
            pieces.iter().filter(is_boxed).count()
        };
        assert_eq!(boxes("{42}"), 0);
        assert_eq!(boxes(r"\boxed{42}"), 1);
        assert_eq!(boxes(r"x = \boxed{\frac{1}{\boxed{2}}}^2"), 2);
        assert_eq!(
            told(r"\boxed{a < b}").as_deref(),
            Some("<math><mrow><mi>a</mi><mo><</mo><mi>b</mi></mrow></math>")
        );
    }

    #[test]
    fn what_is_no_formula_is_left_alone() {
        for latex in [
            r"\frac{a",
            r"\unknown{x}",
            "}{",
            r"\left(",
            r"\begin{pmatrix} 1",
            r"\href{javascript:alert(1)}{x}",
            r"\url{https://a.b}",
            r"\includegraphics{x}",
            r"\htmlClass{x}{y}",
            "x^1^2",
            "&",
            "\\",
            r"\sqrt[",
            "_",
        ] {
            // Refused or read; never anything that is not listed, as the next test sees to.
            pieces(latex, true);
        }
        assert_eq!(told(r"\frac{a"), None);
        assert_eq!(told(r"\unknown{x}"), None);
        assert_eq!(told(r"\href{javascript:alert(1)}{x}"), None);
    }

    /// Text stays text, and no attribute is other than those of the list.
    #[test]
    fn markup_in_a_formula_is_text() {
        for latex in [
            r"\text{<img src=x onerror=alert(1)>}",
            r#"\text{"><script>alert(1)</script>}"#,
            r"<script>",
            r"\mathrm{a<b>c</b>}",
            r"\text{&lt;b&gt; &#60;}",
            r"\color{red}{x} \textcolor{blue}{y}",
        ] {
            let Some(pieces) = pieces(latex, false) else {
                continue;
            };
            for piece in pieces {
                if let Piece::Open(Element::MathPart(part, attributes)) = piece {
                    assert!(part < PARTS.len());
                    for (name, value) in attributes {
                        assert!(name < ATTRIBUTES.len(), "{latex}");
                        assert!(!value.contains(['<', '>', ':', '(']), "{latex}: {value}");
                    }
                }
            }
        }
        let shown = told(r"\text{<img src=x onerror=alert(1)>}").unwrap_or_default();
        assert!(shown.contains("<img"), "{shown}");
    }

    /// On as little stack as a worker has.
    #[test]
    fn nothing_overflows() {
        let deep =
            |part: &str, end: &str, count: usize| part.repeat(count) + "x" + &end.repeat(count);
        let all: Vec<String> = [10, 39, 80, 590, 2000]
            .into_iter()
            .flat_map(|count| {
                [
                    deep("{", "}", count),
                    deep(r"\sqrt", "", count),
                    deep(r"\sqrt{", "}", count),
                    deep(r"\frac1", "", count),
                    deep(r"\frac{1}{", "}", count),
                    deep("x^{", "}", count),
                    deep("x_", "", count),
                    deep(r"\left(", r"\right)", count),
                    deep(r"\begin{matrix}", r"\end{matrix}", count),
                    deep(r"\hat", "", count),
                    deep(r"\text{", "}", count),
                    "(".repeat(count),
                    "&".repeat(count),
                    r"\\".repeat(count),
                    r"\limits".repeat(count),
                    "'".repeat(count),
                ]
            })
            .collect();
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let tried = small.spawn(move || {
            for latex in &all {
                for on_its_own in [false, true] {
                    pieces(latex, on_its_own);
                }
            }
        });
        tried.unwrap().join().unwrap();
    }
}
