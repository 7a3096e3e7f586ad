//! `onebit serve`.

use std::path::PathBuf;

use clap::Args;
use ternary::session::DeviceChoice;

use super::model::CacheKind;

/// Serve models over HTTP, to clients of OpenAI's and Anthropic's APIs.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit serve --model model.1bit
  onebit serve --model small=small.1bit --model large=run/best --parallel 8
  onebit serve --model model.1bit --adapter poet=adapter/ --host 0.0.0.0 \\
      --api-key-file keys.txt

Then:
  curl http://127.0.0.1:8080/v1/chat/completions \\
      -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'

SIGTERM and Ctrl-C finish the running replies and end; SIGHUP loads models anew whose files have changed.")]
pub struct Serve {
    /// A .1bit file, a checkpoint folder or a run, by default called as its file is; may be given
    /// several times.
    #[arg(long, value_name = "[NAME=]PATH", required = true)]
    pub model: Vec<String>,
    /// A folder with an adapter, called MODEL:NAME or NAME in requests; may be given several times.
    /// Each goes with the models that it was trained for.
    #[arg(long, value_name = "NAME=DIR")]
    pub adapter: Vec<String>,
    /// The address to listen on. Others than this machine's own need --api-key-file or --insecure.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// The port to listen on; 0 = a free one, which is told.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// A file with the keys that clients may use, one a line; `#` begins a comment.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Listen on a public address without keys.
    #[arg(long)]
    pub insecure: bool,
    /// Replies that a model writes at the same time; more wait.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one)]
    pub parallel: usize,
    /// Requests that may wait for a model; more are told to come back (429).
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Tokens of prompt and reply together, at most [default: the model's, where memory allows].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads of a model; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
    /// Precision of the keys and values that are kept of a text: f32 is exactly what was computed,
    /// f16 takes half the memory, q8 a quarter.
    #[arg(long, value_enum, default_value = "f16")]
    pub kv: CacheKind,
    /// Do not guess tokens from what a text has said before; replies are the same with and without.
    #[arg(long)]
    pub no_drafts: bool,
    /// Guess with this model, too: a .1bit with the same tokens, or a bit-map (.json) of the model
    /// itself; replies are the same with and without.
    #[arg(long, value_name = "[NAME=]PATH", conflicts_with = "no_drafts")]
    pub draft: Vec<String>,
    /// Bytes of a request, at most.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = at_least_one)]
    pub max_body: usize,
    /// Seconds that a request may take, waiting included.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds)]
    pub timeout: u64,
    /// Seconds that running replies are given to end when the server is asked to.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub grace: u64,
    /// A site whose pages may use this server, such as `https://example.org`, or `*` for all; may
    /// be given several times.
    #[arg(long, value_name = "ORIGIN")]
    pub cors: Vec<String>,
    /// A folder with the built page to serve at /, instead of the one built in.
    #[arg(long, value_name = "DIR", conflicts_with = "no_page")]
    pub page: Option<PathBuf>,
    /// Serve no page at /.
    #[arg(long)]
    pub no_page: bool,
    /// Write the texts of requests and replies into the log.
    #[arg(long)]
    pub log_prompts: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number of at least 1".to_owned()),
    }
}

/// A day at most.
fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(n @ 1..=86_400) => Ok(n),
        _ => Err("expected 1 to 86400".to_owned()),
    }
}
