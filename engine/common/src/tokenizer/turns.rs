//! Which tokens of a conversation are the assistant's: those that a model is asked to write, and so
//! those to learn from.

use std::ops::Range;

use super::checked::guarded;
use super::{ChatTemplate, Part, Tokenizer};
use crate::chat::Message;
use crate::error::Result;

/// A token of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnToken {
    /// Below the vocabulary.
    pub id: u32,
    /// Of a message of the assistant's that may be learnt, or the mark that ends it.
    pub assistant: bool,
}

fn text_of(parts: &[Part]) -> String {
    parts.iter().map(|part| part.text.as_str()).collect()
}

impl Tokenizer {
    /// The tokens of a conversation to learn from, as `template` writes it out. The assistant's are
    /// those behind the prompt for a message, to the end of what the template makes of the message;
    /// not the name of the role before it, and not those of messages whose `weight` is 0. Special
    /// tokens in contents are letters.
    ///
    /// # Errors
    /// What the template says.
    pub fn encode_turns(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
    ) -> Result<Vec<TurnToken>> {
        let parts = self.conversation_parts(template, messages, false)?;
        let turns = self.assistant_turns(template, messages, &text_of(&parts));
        let parts = cut_at(parts, &turns);
        let (tokenizer, texts) =
            self.told_apart(&parts.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>())?;
        let text = texts.concat();
        let encoded = guarded(|| tokenizer.encode(text.as_str(), false))?;
        // Where the assistant's texts lie in what is encoded.
        let (mut at, mut spoken) = (0, Vec::new());
        for (text, (_, assistant)) in texts.iter().zip(&parts) {
            if *assistant {
                spoken.push(at..at + text.len());
            }
            at += text.len();
        }
        let ids = encoded.get_ids().iter().zip(encoded.get_offsets());
        Ok(ids
            .map(|(id, (start, _))| TurnToken {
                id: *id,
                assistant: spoken.iter().any(|range| range.contains(start)),
            })
            .collect())
    }

    /// Where the assistant's messages that may be learnt lie in `text`, which the template made of
    /// the conversation, with their end marks.
    fn assistant_turns(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        text: &str,
    ) -> Vec<Range<usize>> {
        let mut turns: Vec<Range<usize>> = Vec::new();
        let mut learnt = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            if message.role != "assistant" {
                continue;
            }
            let after = turns.last().map_or(0, |turn| turn.end);
            // What is asked of a model is what it learns; templates may write the turns before
            // otherwise, and then the message itself is looked for.
            let prompt = template.render(&messages[..i]).ok();
            let start = prompt
                .filter(|prompt| text.starts_with(prompt.as_str()) && prompt.len() >= after)
                .map(|prompt| prompt.len());
            let whole = template.conversation(&messages[..=i]).ok();
            let whole = whole.map(|parts| text_of(&parts));
            let end = whole
                .filter(|whole| text.starts_with(whole.as_str()))
                .map(|whole| whole.len());
            let turn = match (start, end) {
                (Some(start), Some(end)) if start <= end => Some(start..end),
                _ => self.found_turn(text, after, &message.content),
            };
            let Some(turn) = turn else {
                continue;
            };
            turns.push(turn.start..self.without_space(text, turn));
            learnt.push(message.is_learnt());
        }
        let turns = turns.into_iter().zip(learnt);
        turns
            .filter_map(|(turn, learnt)| learnt.then_some(turn))
            .collect()
    }

    /// A message where it stands in `text` behind `after`, with the token that ends it.
    fn found_turn(&self, text: &str, after: usize, content: &str) -> Option<Range<usize>> {
        let content = content.trim();
        let start = after + text[after..].find(content)?;
        let end = start + content.len();
        let mark = self.specials.iter().filter(|(id, _)| self.is_end(**id));
        let mark = mark
            .map(|(_, mark)| mark)
            .find(|mark| text[end..].starts_with(mark.as_str()));
        Some(start..end + mark.map_or(0, String::len))
    }

    /// The end of a turn, less the white space behind the mark that ends it: nobody asks for more.
    fn without_space(&self, text: &str, turn: Range<usize>) -> usize {
        let trimmed = text[turn.clone()].trim_end();
        let marked = |mark: &String| trimmed.ends_with(mark.as_str());
        match self.specials.values().any(marked) {
            true => turn.start + trimmed.len(),
            false => turn.end,
        }
    }
}

/// The parts, cut where `turns` begin and end, and whether each lies in one.
fn cut_at(parts: Vec<Part>, turns: &[Range<usize>]) -> Vec<(Part, bool)> {
    let mut cuts: Vec<usize> = turns
        .iter()
        .flat_map(|turn| [turn.start, turn.end])
        .collect();
    cuts.sort_unstable();
    let (mut at, mut all) = (0, Vec::new());
    for Part { text, content } in parts {
        let end = at + text.len();
        let inside = cuts
            .iter()
            .copied()
            .filter(|cut| (at + 1..end).contains(cut));
        let (mut from, stops) = (at, inside.chain([end]));
        for stop in stops {
            let text = text[from - at..stop - at].to_owned();
            let assistant = turns.iter().any(|turn| turn.contains(&from));
            all.push((Part { text, content }, assistant));
            from = stop;
        }
        at = end;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::CHAT_TEMPLATE;

    fn talk() -> Vec<Message> {
        vec![
            Message::new("system", "Be kind."),
            Message::new("user", "What does <|end|> mean?"),
            Message::new("assistant", " It ends a turn: <|end|>, you see. "),
            Message::new("user", "It ends a turn: yes."),
            Message::new("assistant", "It ends a turn: yes."),
        ]
    }

    fn tokenizer() -> Tokenizer {
        let text = "What does it mean? It ends a turn, you see. Be kind. yes ".repeat(9);
        Tokenizer::train(std::iter::once(text), 330).unwrap()
    }

    /// Of the project's template: turn by turn, each content by itself between its marks.
    #[test]
    fn the_assistants_words_and_their_end_are_marked() {
        let t = tokenizer();
        let template = ChatTemplate::new(CHAT_TEMPLATE).unwrap();
        let plain: Vec<Message> = talk()
            .into_iter()
            .map(|m| Message::new(&m.role, m.content.replace("<|end|>", "that")))
            .collect();
        let mut expected = Vec::new();
        for message in &plain {
            let ours = message.role == "assistant";
            let mut push = |id, assistant| expected.push(TurnToken { id, assistant });
            push(t.id(&format!("<|{}|>", message.role)).unwrap(), false);
            let ids = t.encode(message.content.trim()).unwrap();
            ids.iter().for_each(|id| push(*id, ours));
            push(t.id("<|end|>").unwrap(), ours);
        }
        assert_eq!(t.encode_turns(&template, &plain).unwrap(), expected);
    }

    /// Marks that somebody typed are letters, of whoever typed them.
    #[test]
    fn typed_marks_are_letters() {
        let t = tokenizer();
        let template = ChatTemplate::new(CHAT_TEMPLATE).unwrap();
        let found = t.encode_turns(&template, &talk()).unwrap();
        let text = |assistant: bool| {
            let ids = found.iter().filter(|token| token.assistant == assistant);
            t.decode(&ids.map(|token| token.id).collect::<Vec<_>>())
                .unwrap()
        };
        assert_eq!(
            [text(true), text(false)],
            [
                "It ends a turn: <|end|>, you see.It ends a turn: yes.",
                "Be kind.What does <|end|> mean?It ends a turn: yes."
            ]
        );
        let end = t.id("<|end|>");
        let ends = found.iter().filter(|token| Some(token.id) == end);
        let ends: Vec<bool> = ends.map(|token| token.assistant).collect();
        assert_eq!(ends, [false, false, true, false, true]);
        let ids: Vec<u32> = found.iter().map(|token| token.id).collect();
        let parts = t.conversation_parts(&template, &talk(), false).unwrap();
        assert_eq!(ids, t.encode_parts(&parts).unwrap());
    }

    /// What the assistant says, by templates of several kinds, as the text of its tokens.
    #[test]
    fn templates_of_all_kinds_tell_whose_words_they_are() {
        let t = tokenizer();
        let said = |template: &str, talk: &[Message]| {
            let template = ChatTemplate::new(template).unwrap();
            let tokens = t.encode_turns(&template, talk).unwrap();
            let turns = tokens.chunk_by(|a, b| a.assistant == b.assistant);
            turns
                .filter(|turn| turn[0].assistant)
                .map(|turn| {
                    let text = |token: &TurnToken| match t.special_text(token.id) {
                        Some(text) => text.to_owned(),
                        None => t.decode(&[token.id]).unwrap(),
                    };
                    turn.iter().map(text).collect()
                })
                .collect::<Vec<String>>()
        };
        let talk = &talk()[1..];
        // As ChatML: a line end behind the mark is nobody's.
        let lines = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";
        assert_eq!(
            said(lines, talk),
            [
                "It ends a turn: <|end|>, you see.<|end|>",
                "It ends a turn: yes.<|end|>"
            ]
        );
        // Names instead of marks, an end only behind the assistant's.
        let names = "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n{% else %}A: {{ m.content | trim }}<|endoftext|>{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}";
        assert_eq!(
            said(names, talk),
            [
                " It ends a turn: <|end|>, you see.<|endoftext|>",
                " It ends a turn: yes.<|endoftext|>"
            ]
        );
        // Earlier messages are written otherwise than the last: no prompt begins the whole.
        let shortened = "{% for m in messages %}<|{{ m.role }}|>{% if loop.last and m.role == 'assistant' %}think {% endif %}{{ m.content | trim }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
        assert_eq!(
            said(shortened, talk),
            [
                "It ends a turn: <|end|>, you see.<|end|>",
                "think It ends a turn: yes.<|end|>"
            ]
        );
        // What is not to be learnt is read all the same.
        let mut some = talk.to_vec();
        some[1].never_learnt();
        for template in [lines, shortened] {
            let all = said(template, talk);
            assert_eq!(said(template, &some), all[1..]);
        }
        // Nobody asked.
        assert!(said(lines, &talk[..1]).is_empty());
    }
}
