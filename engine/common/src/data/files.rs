//! The files that a path stands for: itself, what a folder holds, a pipe, or standard input (`-`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::text::{
    HEAD, PARQUET, STANDARD_INPUT, Shape, Start, TABLES, ending, refuse_other_parquet,
};
use crate::error::IoContext;
use crate::error::{Error, Result};
use ternary_core::kind::FileKind;

/// Endings of text files. A `.json` file in a folder is one only if it holds an array: others are
/// configurations.
const TEXTS: [&str; 7] = ["txt", "md", "text", "jsonl", "ndjson", "json", PARQUET];
/// Ending of tokenized data.
const TOKENS: &str = "tokens";

/// A text that can be read again from any byte.
#[derive(Clone, Debug)]
pub struct TextFile {
    path: PathBuf,
    name: String,
    /// Its name tells what it holds; a pipe's contents have to.
    named: bool,
    /// How it holds what was unpacked into it, whatever it is called.
    unpacked: Option<Shape>,
    /// What came through a pipe, deleted with the last clone.
    _kept: Option<Arc<tempfile::TempPath>>,
}

impl TextFile {
    /// A file of the disk.
    pub fn new(path: PathBuf) -> Self {
        TextFile {
            name: path.display().to_string(),
            path,
            named: true,
            unpacked: None,
            _kept: None,
        }
    }

    /// The path under which it can be opened: a temporary one for what came through a pipe.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes.
    pub fn bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path).at("read", &self.path)?.len())
    }

    /// The file itself, or what it holds in columns or in a list inside an object.
    fn unpacked(self) -> Result<Self> {
        let head = self.head()?;
        let ending = ending(&self.name);
        let kind = FileKind::of(&head);
        if self.named {
            refuse_other_parquet(&self.name, &head)?;
        }
        let kept = if kind == FileKind::Parquet {
            let rows = super::parquet::as_lines(&self.path, &self.name)?;
            Some((rows, Shape::Lines))
        } else if let Some(what) = elsewhere(&ending)
            && self.named
            && matches!(kind, FileKind::Zip | FileKind::Other)
        {
            return Err(Error::Data(format!("{} is {what}", self.name)));
        } else if ending == "json" || !self.named {
            let list = super::listed::alone(&self.path, &self.name)?;
            list.map(|list| (list, Shape::Values))
        } else {
            None
        };
        Ok(match kept {
            Some((kept, shape)) => TextFile {
                path: kept.to_path_buf(),
                unpacked: Some(shape),
                _kept: Some(Arc::new(kept)),
                ..self
            },
            None => self,
        })
    }

    /// Its first bytes.
    fn head(&self) -> Result<Vec<u8>> {
        let file = std::fs::File::open(&self.path).at("open", &self.path)?;
        let mut head = Vec::new();
        file.take(HEAD as u64)
            .read_to_end(&mut head)
            .at("read", &self.path)?;
        Ok(head)
    }

    /// How its text is stored.
    pub(super) fn start(&self) -> Result<Start> {
        let start = Start::of(&self.name, &self.head()?, self.named)?;
        let shape = self.unpacked.unwrap_or(start.shape);
        Ok(Start { shape, ..start })
    }

    pub(super) fn is_tokens(&self) -> Result<bool> {
        Ok(FileKind::of(&self.head()?) == FileKind::Tokens)
    }
}

/// The one file that `path` stands for. Pipes and standard input are read to their end, into a
/// temporary file.
fn single(path: &Path) -> Result<TextFile> {
    let keep = |name: &str, mut from: Box<dyn Read>| {
        let fail = |e: std::io::Error| Error::Data(format!("cannot read {name}: {e}"));
        let mut kept = tempfile::NamedTempFile::new().map_err(fail)?;
        std::io::copy(&mut from, kept.as_file_mut()).map_err(fail)?;
        let kept = kept.into_temp_path();
        TextFile {
            path: kept.to_path_buf(),
            name: name.to_owned(),
            named: TEXTS.contains(&ending(name).as_str()),
            unpacked: None,
            _kept: Some(Arc::new(kept)),
        }
        .unpacked()
    };
    if path.as_os_str() == "-" {
        return keep(STANDARD_INPUT, Box::new(std::io::stdin().lock()));
    }
    if std::fs::metadata(path).at("open", path)?.is_file() {
        return TextFile::new(path.to_owned()).unpacked();
    }
    let pipe = std::fs::File::open(path).at("open", path)?;
    keep(&path.display().to_string(), Box::new(pipe))
}

/// What lies in a folder and its folders, sorted. Names that begin with a dot are not looked at.
#[derive(Default)]
struct Inside {
    /// Files with one of the endings asked for.
    found: Vec<TextFile>,
    /// The others.
    left_out: Vec<PathBuf>,
}

fn inside(path: &Path, endings: &[&str]) -> Result<Inside> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).at("read the folder", &folder)? {
            let entry = entry.at("read the folder", &folder)?;
            let p = entry.path();
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            // The entry's own type: links to folders are not followed, so a circle of them cannot
            // trap us.
            if entry.file_type().at("read", &p)?.is_dir() {
                folders.push(p);
                continue;
            }
            let wanted = endings.contains(&ending(&name.to_string_lossy()).as_str());
            match wanted && p.is_file() && holds_texts(&p)? {
                true => found.push(p),
                false => left_out.push(p),
            }
        }
    }
    found.sort();
    left_out.sort();
    let found = found.into_iter().map(TextFile::new);
    Ok(Inside {
        found: found.map(TextFile::unpacked).collect::<Result<_>>()?,
        left_out,
    })
}

/// Whether a file of a folder is what its ending says: `.json` files may be configurations.
fn holds_texts(path: &Path) -> Result<bool> {
    let file = TextFile::new(path.to_owned());
    if ending(&file.name) != "json" {
        return Ok(true);
    }
    let head = file.head()?;
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    Ok(head.trim_ascii_start().starts_with(b"["))
}

/// Names of files in `folder`, for a message: the first few, and how many more there are.
fn some_names(folder: &Path, files: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let names = files.iter().take(SHOWN).map(|file| {
        let name = file.strip_prefix(folder).unwrap_or(file);
        name.display().to_string()
    });
    let names = names.collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(SHOWN) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// What is read of a folder.
const READ: &str =
    ".txt, .md, .text, .jsonl, .ndjson and .parquet files, and .json files that hold an array";

/// Endings of files that hold texts as something else, what to say of all of them, and of one.
const ELSEWHERE: [(&[&str], &str, &str); 4] = [
    (
        &["arrow"],
        "make .parquet of Arrow tables",
        "an Arrow table; make Parquet of it, for example in Python: datasets.Dataset.from_file(\"FILE.arrow\").to_parquet(\"FILE.parquet\")",
    ),
    (
        &["feather"],
        "make .parquet of Feather tables",
        "a Feather table; make Parquet of it, for example in Python: pandas.read_feather(\"FILE.feather\").to_parquet(\"FILE.parquet\")",
    ),
    (
        &["xlsx", "xls", "ods"],
        "make .jsonl of spreadsheets",
        "a spreadsheet; make a .jsonl with an object for each row, such as {\"text\": …} or {\"prompt\": …, \"completion\": …}",
    ),
    (
        &["docx", "doc", "odt", "rtf", "epub"],
        "save documents as .txt",
        "a document of a word processor; save its text as .txt first, for example with pandoc",
    ),
];

/// What to say of a file with this ending.
fn elsewhere(ending: &str) -> Option<&'static str> {
    let found = ELSEWHERE.iter().find(|(all, ..)| all.contains(&ending));
    found.map(|(_, _, one)| *one)
}

/// What to do about files that are left out.
fn advice(files: &[PathBuf]) -> String {
    let endings: Vec<String> = files.iter().map(|f| ending(&f.to_string_lossy())).collect();
    let any = |of: &[&str]| endings.iter().any(|ending| of.contains(&ending.as_str()));
    let mut all = Vec::new();
    if any(&["gz", "zst", "bz2", "xz", "zip", "tar", "tgz", "7z"]) {
        all.push("unpack compressed files first");
    }
    if any(&TABLES) {
        all.push("make .jsonl of tables");
    }
    let others = ELSEWHERE.iter().filter(|(of, ..)| any(of));
    all.extend(others.map(|(_, what, _)| *what));
    if files.iter().any(|file| is_about_data(file)) {
        all.push("README and LICENSE tell of the data sets beside them");
    }
    match all.is_empty() {
        true => String::new(),
        false => format!("; {}", all.join(", and ")),
    }
}

/// Whether a text tells of the data sets that lie beside it.
fn is_about_data(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    ["readme", "license", "licence"].contains(&stem.to_ascii_lowercase().as_str())
}

/// Names of files that are held back where others are trained on, if `files` of `folder` have both:
/// hubs keep a data set's parts in one folder.
fn held_back(folder: &Path, files: &[TextFile]) -> Vec<PathBuf> {
    const HELD_BACK: [&str; 6] = ["test", "valid", "validation", "val", "dev", "eval"];
    let is = |file: &TextFile, parts: &[&str]| {
        let name = Path::new(&file.name);
        let name = name
            .strip_prefix(folder)
            .unwrap_or(name)
            .to_string_lossy()
            .to_ascii_lowercase();
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| parts.contains(&word))
    };
    if !files.iter().any(|file| is(file, &["train"])) {
        return Vec::new();
    }
    let held = files
        .iter()
        .filter(|file| is(file, &HELD_BACK) && !is(file, &["train"]));
    held.map(|file| PathBuf::from(&file.name)).collect()
}

/// The texts of `path`: the one file, what comes through a pipe or (`-`) standard input, or what a
/// folder and its folders hold in `.txt`, `.md`, `.text`, `.jsonl`, `.ndjson`, `.json` and
/// `.parquet` files.
///
/// # Errors
/// A path that cannot be read, or a folder without text files.
pub fn text_files(path: &Path) -> Result<Vec<TextFile>> {
    if path.as_os_str() != "-" && path.is_dir() {
        return texts_inside(path);
    }
    // A .tokens file is refused in words of its own when it is read.
    Ok(vec![single(path)?])
}

fn texts_inside(path: &Path) -> Result<Vec<TextFile>> {
    let Inside {
        mut found,
        mut left_out,
    } = inside(path, &TEXTS)?;
    let is_data = |file: &TextFile| {
        let ending = ending(&file.name);
        ["jsonl", "ndjson", "json", PARQUET].contains(&ending.as_str())
    };
    if found.iter().any(is_data) {
        let about = found.extract_if(.., |file| {
            !is_data(file) && is_about_data(Path::new(&file.name))
        });
        left_out.extend(about.map(|file| file.path));
        left_out.sort();
    }
    let (names, advice) = (some_names(path, &left_out), advice(&left_out));
    if found.is_empty() {
        let what = match left_out.is_empty() {
            true => String::new(),
            false => format!(" but {names}"),
        };
        return Err(Error::Data(format!(
            "{} has no text files{what}; expected {READ}{advice}",
            path.display()
        )));
    }
    if !left_out.is_empty() {
        log::warn!(
            "{}: {} of {} files {} left out: {names}; read are {READ}{advice}",
            path.display(),
            left_out.len(),
            left_out.len() + found.len(),
            if left_out.len() == 1 { "is" } else { "are" }
        );
    }
    let held = held_back(path, &found);
    if !held.is_empty() {
        log::warn!(
            "{}: read with the others is what is named as held-back data: {}; to measure on it, keep it in another folder and name that \
             with --val-data-dir",
            path.display(),
            some_names(path, &held)
        );
    }
    Ok(found)
}

/// What training data is read from.
#[derive(Debug)]
pub(super) enum DataFiles {
    Tokens(Vec<TextFile>),
    Texts(Vec<TextFile>),
}

/// The `.tokens` files of `path` if it has any, otherwise its texts.
pub(super) fn data_files(path: &Path) -> Result<DataFiles> {
    if path.as_os_str() == "-" || !path.is_dir() {
        let file = single(path)?;
        return Ok(match ending(&file.name) == TOKENS || file.is_tokens()? {
            true => DataFiles::Tokens(vec![file]),
            false => DataFiles::Texts(vec![file]),
        });
    }
    let Inside {
        found,
        mut left_out,
    } = inside(path, &[TOKENS])?;
    if !found.is_empty() {
        // Tokenizers and configurations lie beside them.
        left_out.retain(|file| {
            let ending = ending(&file.to_string_lossy());
            ending != "json" && TEXTS.contains(&ending.as_str())
        });
        if !left_out.is_empty() {
            log::warn!(
                "{}: the .tokens files alone are read; left out are the texts {}",
                path.display(),
                some_names(path, &left_out)
            );
        }
        return Ok(DataFiles::Tokens(found));
    }
    Ok(DataFiles::Texts(texts_inside(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_texts_whatever_the_case_of_their_endings() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("b.TXT", "b"),
            ("a.JSONL", "{\"text\": \"a\"}"),
            ("config.json", "{}"),
            ("c.json", " [{\"text\": \"c\"}]"),
            (".hidden.txt", "no"),
            ("picture.png", "no"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let files = text_files(dir.path()).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|f| f.path().file_name().unwrap())
            .collect();
        assert_eq!(names, ["a.JSONL", "b.TXT", "c.json"]);
        let left_out = inside(dir.path(), &TEXTS).unwrap().left_out;
        assert_eq!(
            some_names(dir.path(), &left_out),
            "config.json, picture.png"
        );
        let many: Vec<PathBuf> = (0..7).map(|i| dir.path().join(format!("{i}.gz"))).collect();
        assert_eq!(
            some_names(dir.path(), &many),
            "0.gz, 1.gz, 2.gz, 3.gz, 4.gz and 2 more"
        );
        assert_eq!(advice(&many), "; unpack compressed files first");
        let some = ["a.csv", "b.arrow", "README.md"].map(PathBuf::from);
        assert_eq!(
            advice(&some),
            "; make .jsonl of tables, and make .parquet of Arrow tables, and README and LICENSE tell of the data sets beside them"
        );
        let empty = tempfile::tempdir().unwrap();
        let e = text_files(empty.path()).unwrap_err().to_string();
        assert!(e.contains("no text files"), "{e}");
    }
}
