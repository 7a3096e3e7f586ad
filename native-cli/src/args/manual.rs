//! What describes the command line itself: `completions` and `manual`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit completions bash > ~/.local/share/bash-completion/completions/onebit
  onebit completions zsh > ~/.zfunc/_onebit
  onebit completions fish > ~/.config/fish/completions/onebit.fish
  onebit completions powershell >> $PROFILE")]
pub struct Completions {
    /// The shell that is to complete.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The form of a manual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ManualFormat {
    /// Pages for `man`: onebit.1, onebit-train.1, …
    Man,
    /// Pages of Markdown, as docs/commands/ has them.
    Markdown,
    /// The endpoints of `onebit serve` and what they take and answer: openapi.json.
    Openapi,
}

/// Write the manual: one page for each command.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit manual --output-dir ~/.local/share/man/man1
  onebit manual --format markdown --output-dir docs/commands
  onebit manual --format openapi --output-dir docs")]
pub struct Manual {
    /// Folder for the pages; pages that are already there are replaced.
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Form of the pages.
    #[arg(long, value_enum, default_value = "man")]
    pub format: ManualFormat,
}
