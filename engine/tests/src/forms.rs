//! Replies of a form: a random model, which knows no JSON, writes what a schema accepts, and
//! nothing else.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ternary::config::{LayerBitMap, ModelConfig, QuantMode};
use ternary::format::{Dense, MemorySource, Metadata, Packing, encode};
use ternary::infer::{
    Callable, Calls, Compiler, Form, Grammars, Inside, Mark, Sampling, TokenSet, vocabulary,
};
use ternary::params;
use ternary::rng::Rng;
use ternary::session::{Command, DeviceChoice, Event, FinishReason, Session};
use ternary::tokenizer::Tokenizer;

/// Schemas that are tried.
const SCHEMAS: u64 = 200;
/// Of these, so many replies must come to their end within [`LENGTH`] tokens.
const FINISHED: usize = 180;
const LENGTH: usize = 700;

const TEXT: &str = "Once upon a time there was a dog called \"Max\". {\"name\": \"Max\", \"age\": 12, \"tags\": [1.5, true, \
    false, null]} The cat, the bird and the fish ran and ran in the park. 2024-02-17T10:45:00Z 192.168.0.1 e3b0c442";

fn session() -> Session {
    let tokenizer = Tokenizer::train(std::iter::repeat_n(TEXT, 20), 400).unwrap();
    let config = ModelConfig {
        vocab_size: tokenizer.vocab_size() + 3,
        hidden_size: 32,
        num_heads: 2,
        num_layers: 1,
        intermediate_size: 64,
        max_seq_len: 1024,
        use_rope: true,
        layer_bit_map: Some(LayerBitMap::sandwich(1, QuantMode::Ternary)),
        ..ModelConfig::default()
    };
    let values: HashMap<String, Vec<f32>> = params::all(&config)
        .into_iter()
        .map(|p| (p.name.clone(), p.init(&config, 1)))
        .collect();
    let metadata = Metadata {
        config,
        tokenizer: Some(tokenizer.to_json().unwrap()),
        ..Metadata::default()
    };
    let bytes = encode(metadata, &values, Packing::Ternary2, Dense::No).unwrap();
    let source = Rc::new(MemorySource::new("random.1bit", bytes));
    let mut session = Session::with_threads(1);
    let mut well = |event| assert!(!matches!(event, Event::Error { .. }), "{event:?}");
    pollster::block_on(session.load(source, DeviceChoice::Cpu, &mut well));
    session
}

fn sampling(seed: u64) -> Sampling {
    Sampling {
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        repetition_penalty: 1.0,
        seed,
        max_tokens: LENGTH,
        ..Sampling::default()
    }
}

/// A reply, and why it ended.
fn reply(
    session: &mut Session,
    form: Form,
    sampling: Sampling,
) -> Result<(String, FinishReason), String> {
    let (mut text, mut end, mut failure) = (String::new(), None, None);
    let prompt = "The dog: ".to_owned();
    let mut emit = |event| match event {
        Event::Token { text: piece } => text += &piece,
        Event::Finished { reason, .. } => end = Some(reason),
        Event::Error { message } => failure = Some(message),
        _ => {}
    };
    let command = Command::Generate {
        prompt,
        sampling,
        form: Some(form),
    };
    pollster::block_on(session.handle(command, &mut emit));
    match (end, failure) {
        (Some(end), None) => Ok((text, end)),
        (_, failure) => Err(failure.unwrap()),
    }
}

/// Schemas of the kinds that the JSON Schema test suite has, as far as a reply can be held to them.
struct Schemas {
    rng: Rng,
    /// Of definitions that parts refer to.
    definitions: serde_json::Map<String, Value>,
}

impl Schemas {
    fn of(seed: u64) -> Value {
        let mut made = Schemas {
            rng: Rng::counted(17, &[seed]),
            definitions: serde_json::Map::new(),
        };
        let mut schema = made.schema(3);
        if !made.definitions.is_empty() {
            schema["$defs"] = Value::Object(made.definitions);
        }
        schema
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn schema(&mut self, depth: usize) -> Value {
        let kinds = if depth == 0 { 9 } else { 18 };
        match self.below(kinds) {
            0 => json!({ "type": self.one_of(&["boolean", "null"]) }),
            1 => self.integer(),
            2 => self.number(),
            3 => self.text(),
            4 => {
                let pattern = self.one_of(&[
                    "^[a-z]{2,6}$",
                    "^(cat|dog|bird)s?$",
                    "^[A-Z][0-9]{3}-[0-9a-f]{1,4}$",
                    "^\\d{1,3}(\\.\\d{1,2})?$",
                ]);
                json!({ "type": "string", "pattern": pattern })
            }
            5 => {
                // Of dates and times 29 February and a 60th second are had too often.
                let format = self.one_of(&["uuid", "ipv4", "ipv6"]);
                json!({ "type": "string", "format": format })
            }
            6 => json!({ "enum": [1, "one", null, [1, { "a": "b\n\"c\"" }], { "x": -2.5 }] }),
            7 => {
                let value = self.below(1000);
                json!({ "const": { "kind": "fixed", "value": value } })
            }
            8 => json!({ "type": ["integer", "null"], "minimum": 5, "maximum": 20 }),
            9 | 10 => self.object(depth),
            11 => self.array(depth),
            12 => json!({
                "type": "array",
                "prefixItems": [self.schema(depth - 1), self.schema(0)],
                "items": false,
                "minItems": 2,
            }),
            13 => json!({ "anyOf": [self.schema(depth - 1), self.schema(depth - 1)] }),
            14 => {
                // One at most is true of any value.
                let parts = [
                    json!({ "type": "string", "maxLength": 5 }),
                    json!({ "type": "boolean" }),
                    self.array(depth),
                ];
                json!({ "oneOf": parts })
            }
            15 => {
                let (least, most) = (self.below(50), 60 + self.below(50));
                json!({ "allOf": [
                    { "type": "integer", "minimum": least },
                    { "maximum": most, "multipleOf": 2 },
                ] })
            }
            16 => {
                let name = format!("part{}", self.definitions.len());
                // The name is taken before the parts of it take theirs.
                self.definitions.insert(name.clone(), Value::Null);
                let part = self.schema(depth - 1);
                self.definitions.insert(name.clone(), part);
                json!({ "$ref": format!("#/$defs/{name}") })
            }
            _ => {
                // A list that refers to itself.
                let name = format!("list{}", self.definitions.len());
                let reference = format!("#/$defs/{name}");
                let value = json!({
                    "type": "object",
                    "properties": {
                        "value": { "type": "integer", "minimum": 0, "maximum": 9 },
                        "next": { "anyOf": [{ "type": "null" }, { "$ref": reference }] },
                    },
                    "required": ["value", "next"],
                    "additionalProperties": false,
                });
                self.definitions.insert(name, value);
                json!({ "$ref": reference })
            }
        }
    }

    fn integer(&mut self) -> Value {
        let from = self.below(2000) as i64 - 1000;
        let to = from + 2 + self.below(5000) as i64;
        match self.below(4) {
            0 => json!({ "type": "integer", "minimum": from, "maximum": to }),
            1 => json!({ "type": "integer", "exclusiveMinimum": from, "exclusiveMaximum": to }),
            2 => json!({ "type": "integer", "minimum": 0, "maximum": 999, "multipleOf": 7 }),
            _ => json!({ "type": "integer" }),
        }
    }

    fn number(&mut self) -> Value {
        let from = self.below(200) as f64 / 8.0 - 10.0;
        let to = from + 1.0 + self.below(100) as f64 / 4.0;
        match self.below(3) {
            0 => json!({ "type": "number", "minimum": from, "maximum": to }),
            1 => json!({ "type": "number", "exclusiveMinimum": from, "maximum": to }),
            // Without any bound a number may have an exponent, which no f64 need hold.
            _ => json!({ "type": "number", "minimum": from }),
        }
    }

    fn text(&mut self) -> Value {
        let least = self.below(5);
        let most = least + self.below(20);
        json!({ "type": "string", "minLength": least, "maxLength": most })
    }

    fn object(&mut self, depth: usize) -> Value {
        let names = ["name", "the age", "tags", "ü", "q\"uote", "nested"];
        let count = 1 + self.below(names.len() as u64) as usize;
        let mut properties = serde_json::Map::new();
        let mut required = Vec::new();
        for name in &names[..count] {
            properties.insert((*name).to_owned(), self.schema(depth - 1));
            if self.below(2) == 0 {
                required.push(*name);
            }
        }
        let additional = match self.below(4) {
            0 => json!({ "type": "integer", "minimum": 0, "maximum": 99 }),
            _ => json!(false),
        };
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": additional,
        })
    }

    fn array(&mut self, depth: usize) -> Value {
        let least = self.below(3);
        let most = least + self.below(4);
        let items = self.schema(depth - 1);
        json!({ "type": "array", "items": items, "minItems": least, "maxItems": most })
    }
}

#[test]
fn replies_are_what_their_schemas_accept() {
    let mut session = session();
    let mut finished = 0;
    let began = Instant::now();
    for seed in 0..SCHEMAS {
        let schema = Schemas::of(seed);
        let form = Form::JsonSchema(schema.to_string());
        let (text, end) =
            reply(&mut session, form, sampling(seed)).unwrap_or_else(|e| panic!("{schema}: {e}"));
        if end != FinishReason::End {
            continue;
        }
        finished += 1;
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{schema}: {text:?} is no JSON: {e}"));
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        assert!(validator.is_valid(&value), "{schema}: {text}");
    }
    eprintln!(
        "{finished} of {SCHEMAS} replies finished, all of them valid, in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(finished >= FINISHED, "{finished} replies finished");
}

/// Schemas as programs and people write them: pydantic's, zod's, those of OpenAI and OpenAPI, and
/// wrong ones. Some are refused, with these words.
const WRITTEN: &str = include_str!("schemas.json");

#[test]
fn schemas_as_programs_write_them_are_held_or_refused_by_what_is_wrong() {
    let mut session = session();
    let all: Value = serde_json::from_str(WRITTEN).unwrap();
    let all = all.as_object().unwrap();
    let (mut held, mut finished, mut refused) = (0, 0, 0);
    for (name, case) in all {
        let schema = &case["schema"];
        let form = || Form::JsonSchema(schema.to_string());
        if let Some(words) = case["refused"].as_str() {
            let problem = reply(&mut session, form(), sampling(0)).err();
            let problem = problem.unwrap_or_else(|| panic!("{name} is not refused"));
            assert!(problem.contains(words), "{name}: {words} in {problem}");
            assert!(!problem.contains("backtrace"), "{name}: {problem}");
            refused += 1;
            continue;
        }
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(schema)
            .unwrap();
        let mut ends = 0;
        for seed in 0..3 {
            let (text, end) = reply(&mut session, form(), sampling(seed))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            if end == FinishReason::End {
                ends += 1;
                let value: Value = match serde_json::from_str(&text) {
                    Ok(value) => value,
                    // JSON has no largest exponent.
                    Err(e) if e.to_string().contains("out of range") => continue,
                    Err(e) => panic!("{name}: {text:?} is no JSON: {e}"),
                };
                let problem = validator.iter_errors(&value).next();
                assert!(problem.is_none(), "{name}: {problem:?} in {text}");
            }
        }
        held += 1;
        finished += usize::from(ends > 0);
    }
    eprintln!("{held} schemas held, {finished} of them to an end; {refused} refused");
    assert!(
        held >= 45 && refused >= 12,
        "{held} held, {refused} refused"
    );
    assert!(finished * 10 >= held * 8, "{finished} of {held} finished");
}

/// The check above can fail: without a form the model writes no JSON.
#[test]
fn a_random_model_knows_no_json() {
    let mut session = session();
    let form = Form::Regex("(?s).{40,200}".to_owned());
    let (text, _) = reply(&mut session, form, sampling(1)).unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
}

#[test]
fn greedy_replies_have_their_form_too() {
    let mut session = session();
    let greedy = Sampling {
        temperature: 0.0,
        ..sampling(0)
    };
    let schema = json!({
        "type": "object",
        "properties": { "a": { "enum": ["x", "y"] }, "b": { "type": "integer", "minimum": 10, "maximum": 99 } },
        "required": ["a", "b"],
        "additionalProperties": false,
    });
    let form = Form::JsonSchema(schema.to_string());
    let (text, end) = reply(&mut session, form, greedy.clone()).unwrap();
    assert_eq!(end, FinishReason::End);
    assert!(jsonschema::is_valid(
        &schema,
        &serde_json::from_str(&text).unwrap()
    ));

    let form = Form::Regex("(yes|no), [a-c]{3}".to_owned());
    let (text, end) = reply(&mut session, form, greedy.clone()).unwrap();
    assert_eq!(end, FinishReason::End);
    let (first, rest) = text.split_once(", ").unwrap();
    assert!(["yes", "no"].contains(&first) && rest.len() == 3, "{text}");

    let grammar = "start: sum\nsum: NUMBER (\" + \" NUMBER){1,3} \" = ?\"\nNUMBER: /[1-9][0-9]?/\n";
    let form = Form::Lark(grammar.to_owned());
    let (text, end) = reply(&mut session, form, greedy).unwrap();
    assert_eq!(end, FinishReason::End);
    let terms: Vec<&str> = text.strip_suffix(" = ?").unwrap().split(" + ").collect();
    assert!((2..=4).contains(&terms.len()), "{text}");
    assert!(terms.iter().all(|n| n.parse::<u8>().is_ok()), "{text}");
}

/// A random model hits no mark of real ones, so here a letter begins calls.
#[test]
fn what_looks_like_a_call_in_a_text_is_one_of_the_functions() {
    let mut session = session();
    let parameters = json!({
        "type": "object",
        "properties": { "at": { "enum": ["cat", "dog"] } },
        "required": ["at"],
        "additionalProperties": false,
    });
    let form = Form::Calls(Calls {
        functions: vec![Callable {
            name: "look".to_owned(),
            parameters: parameters.to_string(),
        }],
        marks: vec![Mark {
            begin: "e".to_owned(),
            end: Some(";".to_owned()),
            inside: Inside::Json,
        }],
    });
    let (mut called, mut texts) = (0, 0);
    for seed in 0..40 {
        let (text, end) = reply(&mut session, form.clone(), sampling(seed)).unwrap();
        let mut rest = match text.find(['e', '{', '[']) {
            Some(at) if text[at..].starts_with('e') => &text[at..],
            // JSON from its beginning is a call, too; a bracket elsewhere is text.
            _ => continue,
        };
        texts += 1;
        while let Some(behind) = rest.strip_prefix('e') {
            let mut values = serde_json::Deserializer::from_str(behind).into_iter::<Value>();
            let call = match values.next() {
                Some(Ok(call)) => call,
                // Cut short.
                found => {
                    assert!(end == FinishReason::Length, "{text:?}: {found:?}");
                    break;
                }
            };
            let calls = call.as_array().cloned().unwrap_or_else(|| vec![call]);
            for call in calls {
                called += 1;
                assert_eq!(call["name"], "look", "{text:?}");
                let at = ["arguments", "parameters"].map(|name| call[name]["at"].clone());
                assert!(
                    at.contains(&json!("cat")) || at.contains(&json!("dog")),
                    "{text:?}"
                );
            }
            let end = behind[values.byte_offset()..].trim_start();
            let Some(more) = end.strip_prefix(';') else {
                assert_eq!(end, "", "{text:?}");
                break;
            };
            rest = more.find('e').map_or("", |at| &more[at..]);
        }
    }
    eprintln!("{called} calls in {texts} of 40 replies");
    assert!(called >= 10, "{called} calls");
}

#[test]
fn any_object_is_an_object() {
    let mut session = session();
    let mut finished = 0;
    for seed in 0..40 {
        let (text, end) = reply(&mut session, Form::JsonObject, sampling(seed)).unwrap();
        assert!(text.starts_with('{'), "{text}");
        if end == FinishReason::End {
            finished += 1;
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => assert!(value.is_object(), "{text}"),
                // JSON has no largest exponent.
                Err(e) => assert!(e.to_string().contains("out of range"), "{text}: {e}"),
            }
        }
    }
    eprintln!("{finished} of 40 objects finished");
    assert!(finished > 10, "{finished} finished");
}

/// What cannot be done is refused before anything is written, with the place.
#[test]
fn schemas_that_cannot_be_had_are_refused_with_the_place() {
    let mut session = session();
    let mut refused = |form: Form| reply(&mut session, form, sampling(0)).unwrap_err();
    let within = |part: Value| json!({ "type": "object", "properties": { "a/b": { "type": "array", "items": part } } });
    let of = |schema: Value| Form::JsonSchema(schema.to_string());
    let message = refused(of(within(json!({ "type": "array", "uniqueItems": true }))));
    assert!(
        message.contains("#/properties/a~1b/items") && message.contains("uniqueItems"),
        "{message}"
    );
    let message = refused(of(within(json!({ "type": "string", "format": "poem" }))));
    assert!(
        message.contains("#/properties/a~1b/items") && message.contains("poem"),
        "{message}"
    );
    let referring = json!({
        "properties": { "a": { "$ref": "#/$defs/bad" } },
        "$defs": { "good": { "type": "null" }, "bad": { "not": { "type": "null" } } },
    });
    let message = refused(of(referring));
    assert!(message.contains("#/$defs/bad"), "{message}");
    let never = json!({ "type": "integer", "minimum": 5, "maximum": 4 });
    let message = refused(of(never));
    assert!(
        message.contains("JSON schema") && message.contains("Unsatisfiable"),
        "{message}"
    );

    let message = refused(Form::JsonSchema("{".to_owned()));
    assert!(message.contains("not JSON"), "{message}");
    let message = refused(Form::JsonSchema("7".to_owned()));
    assert!(message.contains("neither an object"), "{message}");
    let message = refused(Form::Regex("(a".to_owned()));
    assert!(message.contains("regular expression"), "{message}");
    let message = refused(Form::Lark("start: nothing\n".to_owned()));
    assert!(
        message.contains("grammar") && message.contains("nothing"),
        "{message}"
    );
}

/// Only what is allowed comes back, however unlikely it is, with the logits of a free step.
#[test]
fn the_unlikeliest_tokens_are_found() {
    let mut session = session();
    let model = &mut session.loaded().unwrap().model;
    let mut all = Vec::new();
    pollster::block_on(model.logits(&[5, 9, 2], &mut |rows| all.extend_from_slice(rows))).unwrap();
    let vocab = all.len() / 3;
    let last = &all[2 * vocab..];
    let mut order: Vec<u32> = (0..vocab as u32).collect();
    order.sort_by(|a, b| last[*b as usize].total_cmp(&last[*a as usize]));
    for (from, enough) in [(0, 2), (vocab - 3, 2), (vocab - 3, 256), (250, 10)] {
        let wanted = &order[from..(from + 3).min(vocab)];
        let mut allowed = TokenSet::none(vocab);
        wanted.iter().for_each(|id| allowed.allow(*id));
        model.truncate(0);
        let feed = model.feed_allowed(&[5, 9, 2], &[], 1.0, &allowed, enough);
        let found = pollster::block_on(feed).unwrap();
        let ids: Vec<u32> = found.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, wanted);
        for (id, logit) in found {
            assert!((logit - last[id as usize]).abs() < 1e-5);
        }
    }
    model.truncate(0);
    let none = TokenSet::none(vocab);
    let feed = model.feed_allowed(&[5, 9, 2], &[], 1.0, &none, 1);
    assert!(pollster::block_on(feed).unwrap().is_empty());
}

/// Says what a mask costs; `onebit bench` and the example `mask_speed` measure.
#[test]
fn masks_lead_any_choice_to_an_end() {
    let mut session = session();
    let grammars = Grammars::new(&vocabulary(session.loaded().unwrap().tokenizer().unwrap()));
    let grammars = grammars.unwrap();
    let mut rng = Rng::new(1);
    let (mut took, mut steps) = (Duration::ZERO, 0u32);
    for seed in 0..50 {
        let form = Form::JsonSchema(Schemas::of(seed).to_string());
        let mut constraint = grammars.constraint(&form).unwrap();
        while !constraint.is_complete() {
            let began = Instant::now();
            let allowed = constraint.allowed().unwrap();
            took += began.elapsed();
            let ids: Vec<u32> = (0..500).filter(|id| allowed.allows(*id)).collect();
            let id = ids[rng.below(ids.len() as u64) as usize];
            constraint.accept(id).unwrap();
            steps += 1;
        }
    }
    let each = took / steps;
    eprintln!("{steps} masks, {each:?} each");
    assert!(steps > 500, "{steps} masks");
}
