//! `onebit bench --suite gpu`: whether a GPU computes what the CPU does, and how fast. Each part is
//! a process of its own, so that a driver that crashes or hangs costs one part; what it has found
//! so far is in its file, and the reports are written anew after each.

mod measure;
mod part;
mod report;
mod verify;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use part::Findings;
pub use part::Part;
use report::{Ended, Report};

use crate::args::Bench;
use crate::output::errln;

/// How often a part is looked after.
const LOOK: Duration = Duration::from_millis(50);

pub fn run(a: &Bench) -> Result<()> {
    let folder = a
        .output
        .as_deref()
        .context("give --output DIR, where the report is written")?;
    if let Some(part) = a.part {
        return run_part(a, part, folder);
    }
    let parts = folder.join(PARTS);
    std::fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let start = Instant::now();
    let mut report = Report::new(a.quick);
    for (i, part) in Part::ALL.iter().enumerate() {
        errln!(
            "[{}/{}] {}, {:.0} s at most",
            i + 1,
            Part::ALL.len(),
            part.title(),
            part.limit(a.quick).as_secs_f64()
        );
        let findings = parts.join(part.file());
        // One of an earlier run would be taken for this one's.
        if findings.exists() {
            std::fs::remove_file(&findings)
                .with_context(|| format!("cannot remove {}", findings.display()))?;
        }
        let began = Instant::now();
        let ended = in_process(a, *part, folder)?;
        if let Ended::Failed(why) = &ended {
            errln!("  failed: {why}");
        }
        report.add(*part, &ended, began.elapsed(), Findings::read(&findings));
        report.write(folder)?;
        if *part == Part::Adapter && ended != Ended::Well {
            break;
        }
    }
    errln!(
        "{:.0} s; the report is {} and {}",
        start.elapsed().as_secs_f64(),
        folder.join(report::JSON).display(),
        folder.join(report::MARKDOWN).display()
    );
    match report.failures().as_slice() {
        [] => Ok(()),
        failed => bail!("not all is well with this GPU: {}", failed.join("; ")),
    }
}

/// Folder of what the parts have found.
const PARTS: &str = "parts";

/// One part, in this process.
fn run_part(a: &Bench, part: Part, folder: &Path) -> Result<()> {
    let file = folder.join(PARTS).join(part.file());
    let mut findings = Findings::new(file, part.budget(a.quick));
    let result = match part {
        Part::Adapter => verify::adapter(&mut findings),
        Part::Operations => verify::operations(a, &mut findings),
        Part::Text => verify::text(a, &mut findings),
        Part::TrainingSteps => verify::training_steps(a, &mut findings),
        Part::Rates => measure::rates(a, &mut findings),
        Part::Inference => measure::inference(a, &mut findings),
        Part::Training => measure::training(a, &mut findings),
    };
    if let Err(e) = &result {
        findings.put("error", format!("{e:#}"))?;
    }
    result
}

/// One part, in a process of its own.
fn in_process(a: &Bench, part: Part, folder: &Path) -> Result<Ended> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = Command::new(program);
    command.args(["bench", "--suite", "gpu", "--device", "gpu", "--output"]);
    command.arg(folder).args(["--part", part.name()]);
    if a.quick {
        command.arg("--quick");
    }
    // What it reports is in its file; its messages are for whoever watches.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command
        .spawn()
        .context("cannot start a part of the suite")?;
    let limit = part.limit(a.quick);
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.success() {
                true => Ended::Well,
                false => Ended::Failed(match status.code() {
                    Some(_) => "it ended with an error".to_owned(),
                    None => format!("it crashed ({status})"),
                }),
            });
        }
        if start.elapsed() > limit {
            child.kill().context("cannot end a part that hangs")?;
            child.wait()?;
            return Ok(Ended::Failed(format!(
                "it was still at work after {:.0} s and was ended",
                limit.as_secs_f64()
            )));
        }
        std::thread::sleep(LOOK);
    }
}
