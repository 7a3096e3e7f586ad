//! How a request wants its tokens chosen.

use serde_json::{Map, Value};
use ternary::infer::Sampling;
use ternary::session::service::Request;

use super::fields::{COUNT, Fields, Parameter, ignored, only, used, wrong};
use super::models::Ready;
use super::refusal::Refusal;
use crate::model::{ChosenSampling, random_seed};

/// What OpenAI's chat and text completions have in common, and other local servers beside.
pub const SAMPLING: &[Parameter] = &[
    used(
        "temperature",
        r#"{"type":"number","minimum":0,"maximum":2}"#,
        "0.5",
        "How freely tokens are chosen; 0 = always the most likely one.",
    ),
    used(
        "top_p",
        r#"{"type":"number","minimum":0,"maximum":1}"#,
        "0.9",
        "Share of the probability to choose from; 0 = always the most likely token.",
    ),
    used(
        "top_k",
        r#"{"type":"integer","minimum":-1,"maximum":256}"#,
        "20",
        "So many of the most likely tokens are chosen from; 0 or -1 = 256. Not in OpenAI's API.",
    ),
    used(
        "repetition_penalty",
        r#"{"type":"number","minimum":0.1,"maximum":10}"#,
        "1.1",
        "Makes the tokens of the last lines less likely, 0.1 to 10; 1 = off. Not in OpenAI's API.",
    ),
    used(
        "presence_penalty",
        r#"{"type":"number","minimum":-2,"maximum":2}"#,
        "0.5",
        "Taken off the logit of each token that the reply has.",
    ),
    used(
        "frequency_penalty",
        r#"{"type":"number","minimum":-2,"maximum":2}"#,
        "0.5",
        "As that, times how often the reply has it.",
    ),
    used(
        "logit_bias",
        r#"{"type":"object","additionalProperties":{"type":"number","minimum":-100,"maximum":100}}"#,
        r#"{"5":-100}"#,
        "Added to the logits of token ids; -100 forbids.",
    ),
    used(
        "seed",
        r#"{"type":"integer"}"#,
        "7",
        "The same seed gives the same reply; without it, or with -1, another each time.",
    ),
    used(
        "stop",
        r#"{"oneOf":[{"type":"string","minLength":1},{"type":"array","items":{"type":"string","minLength":1},"maxItems":64}]}"#,
        r#"["\n\n"]"#,
        "The reply ends before any of these texts.",
    ),
    used(
        "n",
        r#"{"type":"integer","minimum":1,"maximum":128}"#,
        "1",
        "So many replies.",
    ),
];

/// Of requests to all of OpenAI's endpoints.
pub const COMMON: &[Parameter] = &[
    used(
        "model",
        r#"{"type":"string"}"#,
        "\"m\"",
        "A served model, or MODEL:ADAPTER. Not needed where one model is served.",
    ),
    ignored("user", r#"{"type":"string"}"#, "\"someone\""),
    ignored("safety_identifier", r#"{"type":"string"}"#, "\"someone\""),
    ignored("prompt_cache_key", r#"{"type":"string"}"#, "\"key\""),
    ignored("prompt_cache_retention", r#"{"type":"string"}"#, "\"24h\""),
    only(
        "service_tier",
        r#"["auto","default"]"#,
        "There is one tier.",
    ),
];

/// Those of streams.
pub const STREAM: &[Parameter] = &[
    used(
        "stream",
        r#"{"type":"boolean"}"#,
        "true",
        "Answer by server-sent events.",
    ),
    used(
        "stream_options",
        r#"{"type":"object","properties":{"include_usage":{"type":"boolean"}}}"#,
        r#"{"include_usage":true}"#,
        "`include_usage`: a last event tells the tokens.",
    ),
];

/// Stop texts of a request, at most.
const STOPS: usize = 64;
/// Replies to one request, at most.
const REPLIES: i64 = 128;
/// How tokens are chosen, as far as a request says.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: Option<u64>,
    pub max_tokens: usize,
    pub stop: Vec<String>,
    /// Replies.
    pub n: usize,
}

impl Wishes {
    /// OpenAI's. The number of tokens is read by whoever knows its name.
    pub fn read(fields: &mut Fields) -> Result<Self, Refusal> {
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        let stop_at = fields.at("stop");
        let wishes = Wishes {
            temperature: fields.number("temperature", 0.0..=2.0)?,
            top_p: Self::top_p(fields)?,
            top_k: Self::top_k(fields, -1)?,
            repetition_penalty: fields.number("repetition_penalty", 0.1..=10.0)?,
            presence_penalty: fields
                .number("presence_penalty", -2.0..=2.0)?
                .unwrap_or(0.0),
            frequency_penalty: fields
                .number("frequency_penalty", -2.0..=2.0)?
                .unwrap_or(0.0),
            logit_bias: logit_bias(fields.object("logit_bias")?.unwrap_or_default())?,
            seed: seed.and_then(|seed| u64::try_from(seed).ok()),
            max_tokens: usize::MAX,
            stop: checked_stops(fields.texts("stop")?, &stop_at)?,
            n: fields.integer("n", 1..=REPLIES)?.unwrap_or(1) as usize,
        };
        Ok(wishes)
    }

    /// 0 is the likeliest token, as the smallest share is.
    pub fn top_p(fields: &mut Fields) -> Result<Option<f32>, Refusal> {
        let top_p = fields.number("top_p", 0.0..=1.0)?;
        Ok(top_p.map(|p| p.max(f32::MIN_POSITIVE)))
    }

    /// Of all that a step reads back where it is 0 or less.
    pub fn top_k(fields: &mut Fields, least: i64) -> Result<Option<usize>, Refusal> {
        let top_k = fields.integer("top_k", least..=256)?;
        Ok(top_k.map(|k| usize::try_from(k).unwrap_or(0)))
    }

    /// For a model that `own` suits; of several replies the `nth`.
    pub fn sampling(&self, own: &Sampling, nth: usize) -> Result<Sampling, Refusal> {
        let chosen = ChosenSampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            repetition_penalty: self.repetition_penalty,
            rest: Sampling {
                seed: match self.seed {
                    Some(seed) => seed.wrapping_add(nth as u64),
                    None => random_seed(),
                },
                max_tokens: self.max_tokens,
                stop: self.stop.clone(),
                ..Sampling::default()
            },
        };
        let sampling = chosen.of(own);
        // None are written where only the prompt is looked at.
        let checked = Sampling {
            max_tokens: sampling.max_tokens.max(1),
            ..sampling.clone()
        };
        checked
            .validate()
            .map_err(|e| Refusal::body(e.to_string()))?;
        Ok(sampling)
    }

    /// A request with these wishes, without anything else.
    pub fn request(&self, ready: &Ready, nth: usize) -> Result<Request, Refusal> {
        let most = ready.card.vocab_size;
        let mut biased = self.logit_bias.iter();
        if let Some((id, _)) = biased.find(|(id, _)| *id as usize >= most) {
            let message = format!("there is no token {id}; ids are below {most}");
            return Err(Refusal::invalid("logit_bias", message));
        }
        Ok(Request {
            sampling: self.sampling(&ready.sampling, nth)?,
            logit_bias: self.logit_bias.clone(),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            ..Request::default()
        })
    }
}

/// Stop texts, of which an empty one would end everything.
pub fn checked_stops(stops: Vec<String>, at: &str) -> Result<Vec<String>, Refusal> {
    if stops.len() > STOPS {
        let message = format!("{} texts; at most {STOPS} are looked for", stops.len());
        return Err(Refusal::invalid(at, message));
    }
    if stops.iter().any(String::is_empty) {
        return Err(Refusal::invalid(at, "an empty text ends nothing"));
    }
    Ok(stops)
}

fn logit_bias(map: Map<String, Value>) -> Result<Vec<(u32, f32)>, Refusal> {
    let entry = |(id, bias): (String, Value)| {
        let at = format!("logit_bias.{id}");
        let id: u32 = id.parse().map_err(|_| {
            Refusal::invalid("logit_bias", format!("its keys are token ids, not `{id}`"))
        })?;
        match bias.as_f64() {
            Some(number) if (-100.0..=100.0).contains(&number) => Ok((id, number as f32)),
            _ => Err(wrong(&at, "a number from -100 to 100", &bias)),
        }
    };
    map.into_iter().map(entry).collect()
}

/// Whether to stream, and whether with the tokens at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streaming {
    pub on: bool,
    pub usage: bool,
}

impl Streaming {
    pub fn read(fields: &mut Fields) -> Result<Self, Refusal> {
        let on = fields.flag("stream")?;
        let mut usage = false;
        if let Some(options) = fields.value("stream_options") {
            let mut options = Fields::nested(options, "stream_options")?;
            usage = options.flag("include_usage")?;
            if options.flag("include_obfuscation")? {
                return Err(Refusal::unsupported(
                    "stream_options.include_obfuscation",
                    "events are not padded",
                ));
            }
            options.end()?;
            if !on {
                return Err(Refusal::invalid(
                    "stream_options",
                    "only with `stream`: true",
                ));
            }
        }
        Ok(Streaming { on, usage })
    }
}

/// `max_tokens` in one of its spellings.
pub fn max_tokens(
    fields: &mut Fields,
    names: &[&str],
    least: i64,
) -> Result<Option<usize>, Refusal> {
    let mut found = None;
    for name in names {
        let count = fields.count(name, least)?;
        if let (Some(a), Some(b)) = (found, count)
            && a != b
        {
            let message = format!("{b} here, {a} under another name");
            return Err(Refusal::invalid(fields.at(name), message));
        }
        found = found.or(count);
    }
    Ok(found)
}

/// `max_tokens` of chat and text completions.
pub const MAX_TOKENS: Parameter = used("max_tokens", COUNT, "16", "Tokens of the reply, at most.");
/// That of chats, which say something.
pub const MAX_TOKENS_OF_CHAT: Parameter = used(
    "max_tokens",
    r#"{"type":"integer","minimum":1}"#,
    "16",
    "Tokens of the reply, at most; an older name of `max_completion_tokens`.",
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{self, Setup};
    use super::*;

    fn read(body: Value) -> Result<Wishes, Refusal> {
        let mut fields = Fields::of_body(body, &[SAMPLING])?;
        let wishes = Wishes::read(&mut fields)?;
        fields.end()?;
        Ok(wishes)
    }

    #[test]
    fn wishes_replace_what_suits_the_model() {
        let own = Sampling {
            temperature: 0.3,
            top_k: 7,
            repetition_penalty: 1.2,
            ..Sampling::default()
        };
        let plain = read(json!({})).unwrap().sampling(&own, 0).unwrap();
        assert_eq!((plain.temperature, plain.top_k), (0.3, 7));
        assert_eq!(plain.repetition_penalty, 1.2);
        let wishes = read(json!({
            "temperature": 0, "top_p": 0.5, "top_k": -1, "seed": 5, "stop": "x", "n": 3,
            "presence_penalty": 1, "frequency_penalty": -1, "logit_bias": {"7": -100, "8": 2.5}
        }))
        .unwrap();
        let mut ready = testing::ready(&Setup::default());
        ready.sampling = own;
        let request = wishes.request(&ready, 2).unwrap();
        let sampling = request.sampling;
        assert_eq!(
            (sampling.temperature, sampling.top_p, sampling.top_k),
            (0.0, 0.5, 0)
        );
        // Greedy decoding is unchanged by what suits the model.
        assert_eq!(sampling.repetition_penalty, 1.0);
        assert_eq!(
            (sampling.seed, sampling.stop, wishes.n),
            (7, vec!["x".to_owned()], 3)
        );
        assert_eq!(request.logit_bias, [(7, -100.0), (8, 2.5)]);
        assert_eq!(
            (request.presence_penalty, request.frequency_penalty),
            (1.0, -1.0)
        );
        // Nobody chose a seed.
        let own_seed = |seed: Value| read(json!({"seed": seed})).unwrap().seed;
        assert_eq!((own_seed(json!(-1)), own_seed(Value::Null)), (None, None));
        // Tokens that the model does not have.
        let wishes = read(json!({"logit_bias": {"999999": 1}})).unwrap();
        let refusal = wishes.request(&ready, 0).err().unwrap();
        assert_eq!(refusal.param.as_deref(), Some("logit_bias"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (body, name) in [
            (json!({"temperature": 3}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"top_k": 1000}), "top_k"),
            (json!({"repetition_penalty": -1}), "repetition_penalty"),
            (json!({"repetition_penalty": 0.05}), "repetition_penalty"),
            (json!({"presence_penalty": 2.5}), "presence_penalty"),
            (json!({"frequency_penalty": {}}), "frequency_penalty"),
            (json!({"logit_bias": {"a": 1}}), "logit_bias"),
            (json!({"logit_bias": {"5": 101}}), "logit_bias.5"),
            (json!({"logit_bias": [1]}), "logit_bias"),
            (json!({"stop": [1]}), "stop"),
            (json!({"stop": ""}), "stop"),
            (json!({"n": 0}), "n"),
            (json!({"seed": 1.5}), "seed"),
        ] {
            let refusal = read(body).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(name), "{}", refusal.message);
            assert_eq!(refusal.status, 400);
        }
    }

    #[test]
    fn streams_tell_their_tokens_if_asked() {
        let read = |body| {
            let mut fields = Fields::of_body(body, &[STREAM])?;
            Streaming::read(&mut fields)
        };
        let on = |usage| Streaming { on: true, usage };
        assert_eq!(read(json!({"stream": true})).unwrap(), on(false));
        let body = json!({"stream": true, "stream_options": {"include_usage": true}});
        assert_eq!(read(body).unwrap(), on(true));
        for (body, name) in [
            (json!({"stream_options": {}}), "stream_options"),
            (
                json!({"stream": true, "stream_options": {"x": 1}}),
                "stream_options.x",
            ),
            (
                json!({"stream": true, "stream_options": {"include_obfuscation": true}}),
                "stream_options.include_obfuscation",
            ),
        ] {
            assert_eq!(read(body).unwrap_err().param.as_deref(), Some(name));
        }
    }
}
