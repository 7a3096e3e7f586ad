//! `onebit completions` and `onebit manual`: what clap knows about the commands, as completion
//! scripts, man pages and Markdown; and the server's endpoints by OpenAPI.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};

use crate::args::{Cli, Completions, Manual, ManualFormat};
use crate::commands::serve::openapi;
use crate::output;

pub fn completions(a: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(a.shell, &mut Cli::command(), "onebit", &mut script);
    output::write(&String::from_utf8(script)?);
    Ok(())
}

pub fn run(a: &Manual) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    fs::create_dir_all(&a.output_dir)
        .with_context(|| format!("creating {}", a.output_dir.display()))?;
    for (name, text) in pages(&command, a.format)? {
        let path = a.output_dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// File names and contents: the program's page first, then one for each command.
fn pages(command: &Command, format: ManualFormat) -> Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    match format {
        ManualFormat::Man => {
            pages.push(("onebit.1".to_owned(), man_page(command.clone())?));
            for sub in documented(command) {
                let page = man_page(sub.clone())?;
                pages.push((format!("onebit-{}.1", sub.get_name()), page));
            }
        }
        ManualFormat::Markdown => {
            pages.push(("index.md".to_owned(), index(command).into_bytes()));
            for sub in documented(command) {
                let name = format!("{}.md", sub.get_name());
                pages.push((name, markdown_page(sub).into_bytes()));
            }
        }
        ManualFormat::Openapi => {
            let mut text = serde_json::to_string_pretty(&openapi::document())?;
            text.push('\n');
            pages.push(("openapi.json".to_owned(), text.into_bytes()));
        }
    }
    Ok(pages)
}

fn documented(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
}

fn man_page(command: Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

/// What tells a reader, and a tidy-minded contributor, where a page comes from.
const GENERATED: &str = "<!-- Written by `cargo xtask docs` from native-cli/src/args/: edit those files instead. -->\n\n";

fn index(command: &Command) -> String {
    let mut page = format!("{GENERATED}# Commands\n\n{}\n\n", about(command));
    page.push_str("| command | |\n|---|---|\n");
    for sub in documented(command) {
        let name = sub.get_name();
        _ = writeln!(page, "| [`onebit {name}`]({name}.md) | {} |", about(sub));
    }
    page.push_str(
        "\n`onebit COMMAND --help` prints a command's page in the terminal, `onebit manual --output-dir DIR` writes man pages, and \
         `onebit completions SHELL` prints a completion script.\n",
    );
    page
}

fn markdown_page(command: &Command) -> String {
    let name = command.get_name();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let mut page = format!(
        "{GENERATED}# onebit {name}\n\n{}\n\n```text\n{usage}\n```\n",
        about(command)
    );
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let (positional, flags): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(shown)
        .partition(|arg| arg.is_positional());
    for (heading, arguments) in [("Arguments", positional), ("Options", flags)] {
        if arguments.is_empty() {
            continue;
        }
        _ = write!(page, "\n## {heading}\n\n");
        for arg in arguments {
            argument(&mut page, arg);
        }
    }
    if let Some(after) = command.get_after_help() {
        after_help(&mut page, &after.to_string());
    }
    page
}

/// One argument: how it is written, what it does, its default and the values it takes.
fn argument(page: &mut String, arg: &Arg) {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    // Defaults that clap does not know stand in the help itself.
    let (help, told) = match help
        .strip_suffix(']')
        .and_then(|h| h.rsplit_once(" [default: "))
    {
        Some((help, default)) => (help, Some(default)),
        None => (help.as_str(), None),
    };
    _ = write!(page, "- `{arg}`");
    if arg.is_required_set() {
        page.push_str(" (required)");
    }
    page.push(':');
    if !help.is_empty() {
        _ = write!(page, " {}", sentence(help));
    }
    if let Some(default) = told {
        _ = write!(page, " Default: {}", sentence(default));
    }
    if !arg.get_action().takes_values() {
        page.push('\n');
        return;
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() {
        _ = write!(page, " Default: {}.", defaults.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        _ = write!(page, " Environment: `{}`.", variable.to_string_lossy());
    }
    page.push('\n');
    let values = arg.get_possible_values();
    if values
        .iter()
        .map(PossibleValue::get_name)
        .eq(["true", "false"])
    {
        return;
    }
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        _ = write!(page, "  - `{}`", value.get_name());
        if let Some(help) = value.get_help() {
            _ = write!(page, ": {}", sentence(&help.to_string()));
        }
        page.push('\n');
    }
}

/// Examples become a block of shell commands, the paragraphs behind them text.
fn after_help(page: &mut String, text: &str) {
    let stripped = ["Examples:\n", "Example:\n"]
        .into_iter()
        .find_map(|title| text.strip_prefix(title));
    let Some(examples) = stripped else {
        _ = write!(page, "\n{}\n", escaped(text));
        return;
    };
    page.push_str("\n## Examples\n\n```sh\n");
    let is_example = |line: &&str| line.is_empty() || line.starts_with("  ");
    let block: Vec<&str> = examples.lines().take_while(is_example).collect();
    let rest: Vec<&str> = examples.lines().skip(block.len()).collect();
    let lines: Vec<&str> = block
        .iter()
        .map(|line| line.strip_prefix("  ").unwrap_or(line))
        .collect();
    _ = write!(page, "{}\n```\n", lines.join("\n").trim_end());
    if !rest.is_empty() {
        _ = write!(page, "\n{}\n", escaped(&rest.join("\n")));
    }
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    sentence(&about.map(ToString::to_string).unwrap_or_default())
}

/// Text with the full stop that clap takes off.
fn sentence(text: &str) -> String {
    let end = if text.is_empty() || text.ends_with('.') {
        ""
    } else {
        "."
    };
    escaped(text) + end
}

/// Text that Markdown shows as it is: `<` begins HTML, `|` a cell. Code in backquotes is left
/// alone.
fn escaped(text: &str) -> String {
    let pieces = text.split('`').enumerate().map(|(i, piece)| {
        if i % 2 == 1 {
            piece.to_owned()
        } else {
            let words: Vec<String> = piece.split(' ').map(escaped_word).collect();
            words.join(" ")
        }
    });
    pieces.collect::<Vec<_>>().join("`")
}

/// A flag becomes code; anything else keeps its signs.
fn escaped_word(word: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '=' | '_' | '.' | ',');
    let (before, flag) = match word.find("--") {
        // `OWNER--NAME` is none.
        Some(at) if !word[..at].ends_with(char::is_alphanumeric) => word.split_at(at),
        _ => (word, ""),
    };
    let end = flag.find(|c| !inside(c)).unwrap_or(flag.len());
    let name = flag[..end].trim_end_matches(['.', ',', '-']);
    let signs = |text: &str| {
        text.replace('<', "\\<")
            .replace('|', "\\|")
            .replace('*', "\\*")
            .replace('[', "\\[")
    };
    if name.is_empty() {
        return signs(word);
    }
    format!("{}`{name}`{}", signs(before), signs(&flag[name.len()..]))
}
