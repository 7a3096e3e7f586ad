//! Rows as data sets of questions, of preferences and of labelled answers have them, brought to the
//! fields that [`super`] reads.

use serde_json::Value;

use super::super::turns::{Content, Heard, Turn};
use super::{Fields, Input, Said};
use crate::chat::Message;

/// Whether an answer is labelled as good or as bad, as for KTO; other labels say something else.
pub(super) fn is_good(fields: &Fields) -> Option<bool> {
    let read = |label: &Value| match label {
        Value::Bool(good) => Some(*good),
        Value::Number(number) => match number.as_f64()? {
            1.0 => Some(true),
            number if number == 0.0 || number == -1.0 => Some(false),
            _ => None,
        },
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "good" | "desirable" | "chosen" => Some(true),
            "false" | "0" | "-1" | "no" | "bad" | "undesirable" | "rejected" => Some(false),
            _ => None,
        },
        _ => None,
    };
    read(&fields.kto_tag).or_else(|| read(&fields.label))
}

/// Put the context behind what is asked, and the answer under the name that goes with the question.
///
/// # Errors
/// A context or answers that are no texts.
pub(super) fn dress(fields: &mut Fields, heard: &mut Heard) -> Result<(), String> {
    if fields.messages.is_some() || fields.conversations.is_some() {
        return Ok(());
    }
    let named = fields.instruction.is_some() || fields.question.is_some();
    let context = match texts("context", fields.context.take()) {
        Ok(context) => context.join("\n\n"),
        // Beside a prompt it may be anything.
        Err(_) if !named => String::new(),
        Err(what) => return Err(what),
    };
    let behind = |text: String| match context.trim().is_empty() {
        true => text,
        false if text.trim().is_empty() => context.clone(),
        false => format!("{text}\n\n{context}"),
    };
    let mut more = |asked: &mut Option<Content>| {
        let text = asked.take().map(|asked| asked.into_text(heard));
        *asked = text.map(|text| Content::Text(behind(text)));
    };
    if context.trim().is_empty() {
        // Nothing is behind anything.
    } else if fields.instruction.is_some() {
        let input = match fields.input.take() {
            Some(Input::Content(input)) => Some(input),
            _ => None,
        };
        let mut input = input.or_else(|| Some(Content::Text(String::new())));
        more(&mut input);
        fields.input = input.map(Input::Content);
    } else if fields.question.is_some() {
        more(&mut fields.question);
    } else {
        fields.prompt = match fields.prompt.take() {
            Some(Said::Content(prompt)) => {
                let mut prompt = Some(prompt);
                more(&mut prompt);
                prompt.map(Said::Content)
            }
            other => other,
        };
    }
    let (name, answers) = match fields.answer.take() {
        Value::Null => ("answers", fields.answers.take()),
        answer => ("answer", answer),
    };
    // Parts of a content have a type, several answers do not.
    if answers.pointer("/0/type").is_some() {
        fields.replied = serde_json::from_value(answers).ok();
    } else if fields.question.is_some() {
        let found = texts(name, answers)?;
        fields.replied = found.into_iter().next().map(Content::Text);
    }
    // An answer may be called as that to another kind of question is.
    let own = [
        fields.instruction.is_some() && fields.output.is_some(),
        fields.prompt.is_some() && fields.completion.is_some(),
        fields.question.is_some() && fields.replied.is_some(),
        fields.text.is_some() && fields.instruction.is_none(),
    ];
    if own.contains(&true) {
        return Ok(());
    }
    let mut other = || {
        let completion = match fields.completion.take() {
            Some(Said::Content(completion)) => Some(completion),
            turns => {
                fields.completion = turns;
                None
            }
        };
        completion.or_else(|| fields.output.take())
    };
    if fields.instruction.is_some() {
        fields.output = other();
    } else if fields.question.is_some() {
        fields.replied = other();
    } else if fields.prompt.is_some() && fields.completion.is_none() {
        fields.completion = fields.output.take().map(Said::Content);
    }
    Ok(())
}

/// The texts that a field holds: one, several, or those of SQuAD's answers.
fn texts(name: &str, value: Value) -> Result<Vec<String>, String> {
    let kind = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) => return Ok(vec![text]),
        Value::Array(all) => {
            let all: Result<Vec<Vec<String>>, String> =
                all.into_iter().map(|one| texts(name, one)).collect();
            return all.map(|all| all.concat());
        }
        Value::Object(mut fields) => match fields.remove("text") {
            Some(text) => return texts(name, text),
            None => "an object without a \"text\"".to_owned(),
        },
        other => other.to_string(),
    };
    Err(format!(
        "\"{name}\" is or has {kind}; expected a text, a list of texts, or {{\"text\": […]}}"
    ))
}

/// An answer of a pair: a message alone is a list of one. Other objects say something else.
pub(super) fn answer(value: Value) -> Value {
    let said = |name| value.get(name).is_some_and(|value| !value.is_null());
    match value.is_object() && (said("content") || said("value") || said("tool_calls")) {
        true => Value::Array(vec![value]),
        false => value,
    }
}

/// What both answers of a pair answer, where it is no `prompt` and no `question`.
pub(super) fn prompt(fields: &mut Fields, heard: &mut Heard) -> Option<Said> {
    if let Some(asked) = fields.instruction.take() {
        let mut asked = asked.into_text(heard);
        if let Some(Input::Content(input)) = fields.input.take() {
            let input = input.into_text(heard);
            if !input.trim().is_empty() {
                asked += "\n\n";
                asked += &input;
            }
        }
        return Some(Said::Content(Content::Text(asked)));
    }
    said_before(fields).map(Said::Turns)
}

/// The conversation that stands beside two answers.
pub(super) fn said_before(fields: &mut Fields) -> Option<Vec<Turn>> {
    let turns = fields.messages.take();
    turns.or_else(|| fields.conversations.take())
}

/// What both answers answer, of the conversation beside them: without the answer itself, if it ends
/// with the chosen one.
///
/// # Errors
/// One that ends with another answer.
pub(super) fn before(
    mut prompt: Vec<Message>,
    answers: [&[Message]; 2],
) -> Result<Vec<Message>, String> {
    if prompt.last().is_none_or(|last| last.role != "assistant") {
        return Ok(prompt);
    }
    let ends = answers
        .into_iter()
        .find(|answer| !answer.is_empty() && prompt.ends_with(answer));
    match ends {
        Some(answer) => {
            prompt.truncate(prompt.len() - answer.len());
            Ok(prompt)
        }
        None => Err(
            "the conversation beside \"chosen\" and \"rejected\" ends with another answer of the assistant's; expected it to end with what is \
             answered, or with the chosen answer"
                .to_owned(),
        ),
    }
}
