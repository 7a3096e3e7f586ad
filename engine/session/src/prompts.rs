//! What a model that is being fine-tuned is asked to go on with, before, meanwhile and afterwards.

use std::borrow::Cow;

use super::LoadedModel;
use super::tune::{TuneSettings, hold_back, hold_back_turns};
use crate::error::{Error, Result};
use ternary_common::chat::Message;
use ternary_common::data::{Conversation, own_template};
use ternary_common::tokenizer::{ChatTemplate, END_OF_TEXT, TemplateTools, TextStream};
use ternary_infer::{Model, Sampler, Sampling};

/// Longest continuation.
pub(super) const SAMPLE_TOKENS: usize = 60;
/// Prompts that are compared before and after.
const PROMPTS: usize = 3;
/// Held-back lines that are looked at for them: many texts begin their lines alike.
const LOOKED_AT: usize = 12;
/// Words that a text is continued after.
const WORDS: usize = 4;

pub(super) struct Prompt {
    pub shown: String,
    pub ids: Vec<u32>,
}

/// The template that conversations are written out with.
pub(super) fn template(loaded: &LoadedModel) -> Result<Cow<'_, ChatTemplate>> {
    let own = || own_template(loaded.tokenizer().ok()?);
    match &loaded.template {
        Some(template) => Ok(Cow::Borrowed(template)),
        None => own().map(Cow::Owned).ok_or(Error::NoChatTemplate),
    }
}

/// The prompt that was asked for; or first words of the text and of held-back lines, or questions
/// of held-back conversations.
pub(super) fn of(loaded: &LoadedModel, settings: &TuneSettings) -> Result<Vec<Prompt>> {
    let asked = settings.sample_prompt.trim();
    if !asked.is_empty() {
        return Ok(vec![text(loaded, asked)?]);
    }
    let (learnt, held) = hold_back(&settings.text);
    let lines: Vec<&str> = held.lines().collect();
    let spread = lines.iter().step_by((lines.len() / LOOKED_AT).max(1));
    let mut prompts: Vec<String> = Vec::new();
    for line in [&learnt].into_iter().chain(spread) {
        let words: Vec<&str> = line.split_whitespace().take(WORDS).collect();
        let words = words.join(" ");
        if prompts.len() < PROMPTS && !words.is_empty() && !prompts.contains(&words) {
            prompts.push(words);
        }
    }
    let mut prompts: Vec<Prompt> = prompts
        .iter()
        .map(|words| text(loaded, words))
        .collect::<Result<_>>()?;
    let (_, held) = hold_back_turns(&settings.conversations);
    let room = PROMPTS.saturating_sub(prompts.len());
    let held = &held[..room.min(held.len())];
    if !held.is_empty() {
        let template = template(loaded)?;
        let knows = TemplateTools::of(&template);
        for talk in held {
            prompts.extend(question(loaded, &template, knows, talk)?);
        }
    }
    Ok(prompts)
}

fn text(loaded: &LoadedModel, shown: &str) -> Result<Prompt> {
    let tokenizer = loaded.tokenizer()?;
    let mut ids = tokenizer.encode(shown)?;
    if ids.is_empty() {
        ids.extend(tokenizer.id(END_OF_TEXT));
    }
    Ok(Prompt {
        shown: shown.to_owned(),
        ids,
    })
}

/// What is said before the assistant's first message.
fn question(
    loaded: &LoadedModel,
    template: &ChatTemplate,
    knows: TemplateTools,
    talk: &Conversation,
) -> Result<Option<Prompt>> {
    let before = talk.messages.iter().take_while(|m| m.role != "assistant");
    let before: Vec<Message> = before.cloned().collect();
    let Some(asked) = before.last().map(|asked| asked.content.trim().to_owned()) else {
        return Ok(None);
    };
    let (template, before) = knows.written(template, &talk.tools, &before);
    let tokenizer = loaded.tokenizer()?;
    let parts = tokenizer.conversation_parts(&template, &before, true)?;
    Ok(Some(Prompt {
        shown: format!("{asked}\n"),
        ids: tokenizer.encode_parts(&parts)?,
    }))
}

/// What the model makes of a prompt.
pub(super) async fn continued(
    model: &mut Model,
    loaded: &LoadedModel,
    prompt: &Prompt,
    seed: u64,
) -> Result<String> {
    let tokenizer = loaded.tokenizer()?;
    let context = model.config().max_seq_len;
    let count = SAMPLE_TOKENS.min(context.saturating_sub(prompt.ids.len()));
    let mut sampler = Sampler::new(&Sampling {
        seed,
        ..Sampling::default()
    });
    let mut stream = TextStream::after(tokenizer, &prompt.ids);
    let (mut text, mut next) = (String::new(), prompt.ids.clone());
    for _ in 0..count {
        let candidates = model.feed(&next, &[], 1.0).await?;
        let Some(id) = sampler
            .choose(candidates)
            .filter(|id| !tokenizer.is_end(*id))
        else {
            break;
        };
        text += &stream.push(tokenizer, id)?;
        next = vec![id];
    }
    Ok(text + &stream.finish(tokenizer)?)
}
