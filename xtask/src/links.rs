//! Links between the Markdown files of the repository, and the book's table of contents. Needs no
//! network: addresses of other sites are not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Folders without texts of ours.
const SKIPPED: [&str; 5] = ["target", "dist", "node_modules", ".git", ".tools"];
const BOOK: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Fails on links to files or headings that are not there, on links by which the book would point
/// outside itself, and on pages that its table of contents lacks.
pub fn check() -> Result<()> {
    let root = workspace::root();
    let mut files = BTreeMap::new();
    collect(root, Path::new(""), &mut files)?;
    let problems = problems(&files, &|path| root.join(path).exists());
    if problems.is_empty() {
        println!("    {} files, no dead link", files.len());
        return Ok(());
    }
    for problem in &problems {
        println!("    {problem}");
    }
    bail!("{} problems with links", problems.len())
}

/// Every Markdown file below `root`, by its path from there.
fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "md") {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("reading {}", path.display()))?;
            files.insert(path, text);
        }
    }
    Ok(())
}

fn problems(files: &BTreeMap<PathBuf, String>, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let pages: BTreeMap<&Path, Page> = files
        .iter()
        .map(|(path, text)| (path.as_path(), Page::parse(text)))
        .collect();
    let mut problems = Vec::new();
    for (path, page) in &pages {
        for (line, target) in &page.links {
            if let Some(what) = problem(path, target, &pages, exists) {
                problems.push(format!("{}:{line}: {target}: {what}", path.display()));
            }
        }
    }
    let listed: BTreeSet<PathBuf> = pages
        .get(Path::new(SUMMARY))
        .into_iter()
        .flat_map(|summary| &summary.links)
        .filter_map(|(_, target)| resolve(Path::new(SUMMARY), target))
        .collect();
    for path in pages.keys() {
        if path.starts_with(BOOK) && *path != Path::new(SUMMARY) && !listed.contains(*path) {
            problems.push(format!("{}: {SUMMARY} does not list it", path.display()));
        }
    }
    problems
}

/// What is wrong with a link in the file `from`.
fn problem(
    from: &Path,
    target: &str,
    pages: &BTreeMap<&Path, Page>,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<&'static str> {
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = if file.is_empty() {
        from.to_owned()
    } else {
        match resolve(from, file) {
            Some(path) => path,
            None => return Some("leads out of the repository"),
        }
    };
    if !exists(&path) {
        return Some("no such file");
    }
    if from.starts_with(BOOK) && !path.starts_with(BOOK) {
        return Some("the book has only what is in docs/; name the file as code instead");
    }
    let anchor = anchor?;
    match pages.get(path.as_path()) {
        Some(page) if !page.anchors.contains(anchor) => Some("no such heading"),
        _ => None,
    }
}

/// A link in the file `from`, as a path from the root; `None` where that is above the root.
fn resolve(from: &Path, target: &str) -> Option<PathBuf> {
    let folder = from.parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            part => path.push(part),
        }
    }
    Some(path)
}

/// What matters here of a Markdown file.
#[derive(Default)]
struct Page {
    /// Links within the repository, with their lines.
    links: Vec<(usize, String)>,
    /// What headings are called in addresses.
    anchors: BTreeSet<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut repeated: HashMap<String, usize> = HashMap::new();
        let mut fence = None;
        for (number, line) in (1..).zip(text.lines()) {
            let start = line.trim_start();
            let marks = ["```", "~~~"].into_iter().find(|m| start.starts_with(m));
            match (fence, marks) {
                (None, Some(_)) => {
                    fence = marks;
                    continue;
                }
                (Some(open), _) => {
                    if marks == Some(open) {
                        fence = None;
                    }
                    continue;
                }
                (None, None) => {}
            }
            if let Some(title) = heading(line) {
                let name = anchor(title);
                let count = repeated.entry(name.clone()).or_default();
                page.anchors.insert(match *count {
                    0 => name,
                    n => format!("{name}-{n}"),
                });
                *count += 1;
            }
            let line = without_code(line);
            for target in targets(&line) {
                let elsewhere = target.contains("://") || target.starts_with("mailto:");
                if !elsewhere {
                    page.links.push((number, target.to_owned()));
                }
            }
        }
        page
    }
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    ((1..=6).contains(&level) && title.starts_with(' ')).then(|| title.trim())
}

/// A heading's name in addresses, as GitHub and mdBook make it.
fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' | '-' => Some('-'),
            c if c.is_alphanumeric() || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

/// The line without what stands between backquotes.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Where a line's links, images and includes lead.
fn targets(line: &str) -> Vec<&str> {
    const FORMS: [(&str, char); 5] = [
        ("](", ')'),
        ("src=\"", '"'),
        ("srcset=\"", '"'),
        ("href=\"", '"'),
        ("{{#include ", '}'),
    ];
    let mut found = Vec::new();
    for (open, close) in FORMS {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once(open) {
            let Some((target, after)) = after.split_once(close) else {
                break;
            };
            found.push(target.trim());
            rest = after;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: BTreeMap<PathBuf, String> = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect();
        problems(&files, &|path| files.contains_key(path))
    }

    #[test]
    fn good_links_pass() {
        let files = [
            (
                "README.md",
                "[a](docs/a.md#two-words) `[no](link)` [x](https://example.org/x)\n```\n[no](link)\n```",
            ),
            ("docs/SUMMARY.md", "- [A](a.md)\n- [B](sub/b.md)"),
            ("docs/a.md", "# A\n## Two words\n[b](sub/b.md) [here](#a)"),
            ("docs/sub/b.md", "[a](../a.md#two-words)"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_dead_link_is_found() {
        let files = [
            (
                "README.md",
                "<img src=\"no.png\">\n[a](docs/a.md#three)\n[up](../x.md)",
            ),
            ("docs/SUMMARY.md", "[A](a.md)"),
            ("docs/a.md", "[out](../README.md)"),
            ("docs/b.md", ""),
        ];
        assert_eq!(
            found(&files),
            [
                "README.md:1: no.png: no such file",
                "README.md:2: docs/a.md#three: no such heading",
                "README.md:3: ../x.md: leads out of the repository",
                "docs/a.md:1: ../README.md: the book has only what is in docs/; name the file as code instead",
                "docs/b.md: docs/SUMMARY.md does not list it",
            ]
        );
    }

    #[test]
    fn anchors_are_those_of_github() {
        assert_eq!(anchor("A `.1bit` file, version 1"), "a-1bit-file-version-1");
        assert_eq!(anchor("From a .1bit: (why)"), "from-a-1bit-why");
        let page = Page::parse("# Same\n# Same\n");
        assert!(page.anchors.contains("same-1"));
    }
}
