//! Texts and conversations: `download`, `tokenize` and `template`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::train::TrainOn;

/// Fetch a data set from a hub with Hugging Face's layout. An interrupted download is continued, a
/// finished one verified.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit download tinystories
  onebit download wikitext-2 --output-dir wiki/
  onebit download owner/name --file data/part-0.parquet \\
      --file data/part-1.parquet

Known by name: wikitext-2, tinystories, tinyshakespeare. The text column of Parquet files is written beside them. HF_TOKEN \
is sent to the endpoint over https, and to no other host.")]
pub struct Download {
    /// wikitext-2, tinystories, tinyshakespeare, or owner/name on the hub.
    pub dataset: String,
    /// A file of the repository; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub file: Vec<String>,
    /// Branch, tag or commit.
    #[arg(long)]
    pub revision: Option<String>,
    /// Where the files go [default: data/NAME].
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// The hub's address.
    #[arg(
        long,
        value_name = "URL",
        env = "HF_ENDPOINT",
        default_value = "https://huggingface.co"
    )]
    pub endpoint: String,
    /// Milliseconds before a dropped connection is tried again; doubled each time.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub retry_pause: u64,
}

/// Turn texts into .tokens files, training a tokenizer on them first if asked.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit tokenize --data-dir texts/ --tokenizer tok.json --train-vocab 4096 \\
      --out-dir tokens/
  onebit tokenize --data-dir book.txt --tokenizer tok.json \\
      --output book.tokens

  zcat book.txt.gz | onebit tokenize --data-dir - --tokenizer tok.json --output book.tokens

The texts are read piece by piece and need no memory to speak of. UTF-16 is known by its byte order mark; convert other \
encodings to UTF-8 first. JSON lines (.jsonl) and arrays (.json) hold objects with a \"text\" field, or conversations \
(\"messages\"), which the chat template writes out; <|endoftext|> closes each. Check a .tokens file with \
`onebit inspect FILE.tokens --verify`.")]
#[command(group(ArgGroup::new("written").args(["out_dir", "output"]).required(true)))]
pub struct Tokenize {
    /// A text file, `-` for standard input, or a folder with .txt, .md, .text, .jsonl, .ndjson and
    /// .json files in it and in its folders.
    #[arg(long, value_name = "PATH")]
    pub data_dir: PathBuf,
    /// tokenizer.json to use; with --train-vocab it is written here first.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Train a byte-level BPE of this many tokens on the texts (at least 261: bytes and special
    /// tokens).
    #[arg(long, value_name = "N")]
    pub train_vocab: Option<usize>,
    /// Replace a tokenizer that .tokens files were made with.
    #[arg(long, requires = "train_vocab")]
    pub force: bool,
    /// Chat template (Jinja) that writes out conversations [default: this project's own, if the
    /// tokenizer has its marks].
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Write one .tokens file per text into this folder.
    #[arg(
        long,
        value_name = "DIR",
        alias = "output-dir",
        conflicts_with = "output"
    )]
    pub out_dir: Option<PathBuf>,
    /// Write all texts into this one .tokens file.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Sequence length the tokens are meant for: `train` uses it when the config says none. 0 =
    /// none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seq_len: u32,
}

/// Look at training data before it is trained on: what was recognized, the first examples as the
/// model will read them with what is learnt marked, counts and lengths.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit data chats.jsonl --model model.1bit
  onebit data alpaca.parquet --model run/best --examples 1
  onebit data texts/ --tokenizer tok.json --context 512 --json

Recognized are texts (.txt, .md, .text), and in .jsonl, .ndjson, .json and .parquet files: text; messages (role, content), as in OpenAI's; conversations (from, value), as in ShareGPT; instruction, input and output, as in Alpaca; instruction, context and response, as in Dolly; prompt and completion, as texts or as messages, without answers that a label calls bad; question and answer, with or without a context; for `finetune --preference`, prompt (or instruction, messages, conversations), chosen and rejected, or input, preferred_output and non_preferred_output as in OpenAI's. Beside a conversation, system is its first message.")]
#[command(group(ArgGroup::new("tokens_of").args(["model", "tokenizer"]).required(true)))]
pub struct Data {
    /// A file, a folder, or `-` for standard input.
    pub path: PathBuf,
    /// The model that is to learn: a .1bit file or a checkpoint folder. Its tokenizer, chat
    /// template and context are taken.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// A tokenizer.json instead.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub tokenizer: Option<PathBuf>,
    /// Another chat template than the model's.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// What is learnt of conversations.
    #[arg(long, value_enum, default_value = "assistant")]
    pub train_on: TrainOn,
    /// Tokens that a window of training has [default: the model's context].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Documents shown.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub examples: usize,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Show what a model's chat template makes of a conversation: the text and the tokens.
#[derive(Args)]
#[command(after_help = "Examples:
  onebit template --model model.1bit --messages conversation.json
  onebit template --model model.1bit --system \"Be brief.\" --user Hello
  onebit template --model run/ --messages - --json < conversation.json

What somebody said is underlined on a terminal. A special token inside it is letters, not a mark.")]
#[command(group(ArgGroup::new("said").args(["messages", "user"]).required(true).multiple(true)))]
pub struct Template {
    /// A .1bit file or a checkpoint folder.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// A JSON file with a list of messages (role, content, tool_calls), or an object with one under
    /// "messages", and functions under "tools"; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// A message of the user's, instead of a file or behind it.
    #[arg(long, value_name = "TEXT")]
    pub user: Option<String>,
    /// A message of the system's, before all others.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Another template than the model's.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// A finished conversation: without what asks the assistant for its next message.
    #[arg(long)]
    pub finished: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}
