//! `onebit bench --suite gpu`: whether a GPU computes what the CPU does, and how fast. Each part is
//! a process of its own, so that a driver that crashes or hangs costs one part; what it has found
//! so far is in its file, and the reports are written anew after each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use ternary::format::{ByteSource, MemorySource};
use ternary::session::suite::{Part, Report, SuiteOptions, Told, run_part};

use crate::args::Bench;
use crate::output::{self, errln};

/// The model that ships with the page.
const SHIPPED: &[u8] = include_bytes!("../../../../web/models/stories.1bit");
/// How often a part is looked after.
const LOOK: Duration = Duration::from_millis(50);
/// Folder of what the parts have found.
const PARTS: &str = "parts";
const JSON: &str = "report.json";
const MARKDOWN: &str = "report.md";

pub fn run(a: &Bench) -> Result<()> {
    let folder = a
        .output
        .as_deref()
        .context("give --output DIR, where the report is written")?;
    let options = SuiteOptions {
        quick: a.quick,
        ..SuiteOptions::default()
    };
    if let Some(part) = a.part {
        return here(part, &options, folder);
    }
    let parts = folder.join(PARTS);
    std::fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let start = Instant::now();
    let mut report = Report::new("onebit bench --suite gpu", a.quick);
    for (i, part) in Part::ALL.into_iter().enumerate() {
        errln!(
            "[{}/{}] {}, {:.0} s at most",
            i + 1,
            Part::ALL.len(),
            part.title(),
            part.limit(&options).as_secs_f64()
        );
        let findings = file(folder, part);
        // One of an earlier run would be taken for this one's.
        if findings.exists() {
            std::fs::remove_file(&findings)
                .with_context(|| format!("cannot remove {}", findings.display()))?;
        }
        let began = Instant::now();
        let failed = in_process(part, &options, folder)?;
        if let Some(why) = &failed {
            errln!("  failed: {why}");
        }
        report.set(part, failed.as_deref(), began.elapsed(), read(&findings));
        write(&report, folder)?;
        if part == Part::Adapter && failed.is_some() {
            break;
        }
    }
    errln!(
        "{:.0} s; the report is {} and {}",
        start.elapsed().as_secs_f64(),
        folder.join(JSON).display(),
        folder.join(MARKDOWN).display()
    );
    match report.failures().as_slice() {
        [] => Ok(()),
        failed => bail!("not all is well with this GPU: {}", failed.join("; ")),
    }
}

/// Where a part puts what it finds.
fn file(folder: &Path, part: Part) -> PathBuf {
    folder.join(PARTS).join(format!("{}.json", part.name()))
}

/// What a part that has run found; nothing where it did not get that far.
fn read(file: &Path) -> Map<String, Value> {
    let bytes = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Both files, each whole or as it was.
fn write(report: &Report, folder: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(&report.json())? + "\n";
    for (name, text) in [(JSON, json), (MARKDOWN, report.markdown())] {
        let file = folder.join(name);
        output::replace(&file, |draft| {
            std::fs::write(draft, &text).with_context(|| format!("cannot write {}", file.display()))
        })?;
    }
    Ok(())
}

/// One part, in this process.
fn here(part: Part, options: &SuiteOptions, folder: &Path) -> Result<()> {
    let file = file(folder, part);
    let mut unwritten = None;
    let mut tell = |told: Told<'_>| match told {
        Told::Line(line) => errln!("  {line}"),
        Told::Found(found) => {
            let written = serde_json::to_vec_pretty(found)
                .map_err(Into::into)
                .and_then(|bytes| {
                    output::replace(&file, |draft| {
                        std::fs::write(draft, bytes)
                            .with_context(|| format!("cannot write {}", file.display()))
                    })
                });
            if let Err(e) = written {
                unwritten.get_or_insert(e);
            }
        }
    };
    let rates = read(&self::file(folder, Part::Rates));
    let shipped: Rc<dyn ByteSource> = Rc::new(MemorySource::new("stories.1bit", SHIPPED.to_vec()));
    let result = pollster::block_on(run_part(part, options, &rates, Some(shipped), &mut tell));
    match unwritten {
        Some(e) => Err(e),
        None => Ok(result?),
    }
}

/// One part, in a process of its own; why it failed.
fn in_process(part: Part, options: &SuiteOptions, folder: &Path) -> Result<Option<String>> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = Command::new(program);
    command.args(["bench", "--suite", "gpu", "--device", "gpu", "--output"]);
    command.arg(folder).args(["--part", part.name()]);
    if options.quick {
        command.arg("--quick");
    }
    // What it reports is in its file; its messages are for whoever watches.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command
        .spawn()
        .context("cannot start a part of the suite")?;
    let limit = part.limit(options);
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match (status.success(), status.code()) {
                (true, _) => None,
                (false, Some(_)) => Some("it ended with an error".to_owned()),
                (false, None) => Some(format!("it crashed ({status})")),
            });
        }
        if start.elapsed() > limit {
            child.kill().context("cannot end a part that hangs")?;
            child.wait()?;
            return Ok(Some(format!(
                "it was still at work after {:.0} s and was ended",
                limit.as_secs_f64()
            )));
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_of_the_report_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::new("onebit bench --suite gpu", true);
        let found = Map::new();
        report.set(Part::Training, Some("it crashed"), Duration::ZERO, found);
        write(&report, folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(MARKDOWN)).unwrap();
        assert!(text.contains("- training: it crashed"), "{text}");
        let json = read(&folder.path().join(JSON));
        assert_eq!(json["failures"][0], "training: it crashed");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
