//! `onebit template`.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use ternary::chat::Message;
use ternary::data::Conversation;
use ternary::format::{FileSource, OneBit, escaped};
use ternary::session::TemplateTools;
use ternary::tokenizer::{ChatTemplate, Part, Tokenizer};
use ternary::train::checkpoint;
use ternary::words::counted;

use crate::args::Template;
use crate::commands::tokenize;
use crate::model;
use crate::output::{self, outln};

pub fn run(a: &Template) -> Result<()> {
    let (tokenizer, own, _) = companions(&a.model)?;
    let template = match (&a.chat_template, own) {
        (Some(path), _) => tokenize::template(path)?,
        (None, Some(own)) => own,
        (None, None) => bail!(
            "{} carries no chat template: it continues texts; give one with --chat-template",
            a.model.display()
        ),
    };
    let Conversation { messages, tools } = conversation(a)?;
    let (template, messages) =
        match tools.is_empty() && !messages.iter().any(Message::is_about_tools) {
            true => (template, messages),
            // As a chat tells of them.
            false => TemplateTools::of(&template).prepared(template, &tools, &messages),
        };
    let parts = tokenizer.conversation_parts(&template, &messages, !a.finished)?;
    let ids = tokenizer.encode_parts(&parts)?;
    let names: std::collections::HashMap<u32, String> = tokenizer
        .vocabulary()
        .into_iter()
        .map(|(token, id)| (id, token))
        .collect();
    let name = |id: &u32| names.get(id).map_or("", String::as_str);
    let text: String = parts.iter().map(|part| part.text.as_str()).collect();
    if a.json {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| json!({"text": part.text, "content": part.content}))
            .collect();
        let tokens: Vec<_> = ids
            .iter()
            .map(|id| json!({"id": id, "token": name(id)}))
            .collect();
        outln!(
            "{}",
            json!({"text": text, "parts": parts, "tokens": tokens})
        );
        return Ok(());
    }
    outln!("{}", shown(&parts, std::io::stdout().is_terminal()));
    outln!("");
    outln!("{}:", counted(ids.len(), "token"));
    for id in &ids {
        outln!("{id:>8}  {}", escaped(name(id)));
    }
    Ok(())
}

/// Tokenizer, chat template and context of a model.
pub fn companions(path: &Path) -> Result<(Tokenizer, Option<ChatTemplate>, usize)> {
    let (tokenizer, template, special, context) = if checkpoint::is_checkpoint_path(path) {
        let parameters = model::parameters(path)?;
        let companions = parameters.companions;
        let context = parameters.config.max_seq_len;
        (
            Some(companions.tokenizer),
            companions.chat_template,
            None,
            context,
        )
    } else {
        let source = FileSource::open(path)?;
        let file = pollster::block_on(OneBit::open(&source))
            .with_context(|| path.display().to_string())?;
        let meta = file.metadata;
        let context = meta.config.max_seq_len;
        (
            meta.tokenizer,
            meta.chat_template,
            meta.special_tokens,
            context,
        )
    };
    let Some(tokenizer) = tokenizer else {
        bail!("{}: the model carries no tokenizer", path.display());
    };
    let template = template
        .map(|source| ChatTemplate::new(&source))
        .transpose()?;
    let special = special.unwrap_or_default();
    Ok((
        Tokenizer::from_json(&tokenizer)?,
        template.map(|t| t.with_tokens(special)),
        context,
    ))
}

/// The messages asked for, in order, and the functions that go with them.
fn conversation(a: &Template) -> Result<Conversation> {
    let mut talk = Conversation::default();
    let system = a.system.iter().map(|text| Message::new("system", text));
    talk.messages.extend(system);
    if let Some(path) = &a.messages {
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read messages from standard input")?;
            text
        } else {
            model::read_small(path, "the messages")?
        };
        let found = ternary::data::conversation(&text);
        let found = found.map_err(|e| anyhow::anyhow!("{}: {e}", output::name(path)))?;
        talk.messages.extend(found.messages);
        talk.tools = found.tools;
    }
    let user = a.user.iter().map(|text| Message::new("user", text));
    talk.messages.extend(user);
    Ok(talk)
}

/// The rendered text; on a terminal, contents are underlined.
fn shown(parts: &[Part], terminal: bool) -> String {
    let mut out = String::new();
    for part in parts {
        // What a terminal would obey is shown instead.
        let lines: Vec<String> = part.text.split('\n').map(escaped).collect();
        let text = lines.join("\n");
        match terminal && part.content {
            true => out += &format!("\u{1b}[4m{text}\u{1b}[24m"),
            false => out += &text,
        }
    }
    out
}
