//! Answers whose streams are named events, each with its type: messages and responses.

use axum::response::Response;
use serde_json::Value;

use super::body::{self, Events, Gone};
use super::refusal::Refusal;
use super::replies::Replies;
use super::turn::{End, Turn};

/// Events, in their order.
pub type Written = Vec<Value>;

/// Writes an answer as it grows: the object, and the events that say how it came to be.
pub trait Writer: Send + 'static {
    fn begin(&mut self) -> Written;
    fn text(&mut self, text: &str) -> Written;
    fn end(&mut self, end: &End) -> Written;
    /// What ends a stream in the middle.
    fn fail(&mut self, refusal: &Refusal) -> Written;
    /// The object, as far as it is written.
    fn whole(&self) -> &Value;
}

/// The answer that `replies` give, whole or as a stream of events.
pub async fn answer(
    mut writer: impl Writer,
    mut replies: Replies,
    mut turn: Turn,
    stream: bool,
) -> Result<Response, Refusal> {
    if stream {
        return Ok(body::events(|events| send(writer, replies, turn, events)));
    }
    while let Some(_written) = next(&mut writer, &mut replies, &mut turn).await? {}
    Ok(body::json(writer.whole()))
}

/// What is written of the next update; None at the end of all.
async fn next(
    writer: &mut impl Writer,
    replies: &mut Replies,
    turn: &mut Turn,
) -> Result<Option<Written>, Refusal> {
    let Some((_, update)) = replies.next().await? else {
        return Ok(None);
    };
    let (piece, end) = turn.take(update);
    let mut written = piece.map_or_else(Written::new, |piece| writer.text(&piece.text));
    written.extend(end.map(|end| writer.end(&end)).into_iter().flatten());
    Ok(Some(written))
}

async fn send(
    mut writer: impl Writer,
    mut replies: Replies,
    mut turn: Turn,
    events: Events,
) -> Result<(), Gone> {
    let mut written = writer.begin();
    let mut goes_on = true;
    loop {
        for event in written {
            let name = event["type"].as_str().unwrap_or_default().to_owned();
            events.named(&name, &event).await?;
        }
        if !goes_on {
            return Ok(());
        }
        written = match next(&mut writer, &mut replies, &mut turn).await {
            Ok(Some(written)) => written,
            Ok(None) => return Ok(()),
            Err(refusal) => {
                goes_on = false;
                writer.fail(&refusal)
            }
        };
    }
}
