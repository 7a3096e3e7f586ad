//! Grammars as [`Constraint`]s: JSON schemas, regular expressions and Lark grammars, compiled for a
//! model's tokens by llguidance.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use crate::calls;
use crate::constraint::{Callable, Calls, Compiler, Constraint, Form, TokenSet};
use crate::error::{Error, Result};
use crate::schema::{explained, parts, readable};
use crate::vocabulary::Vocabulary;

/// Whitespace between the parts of a JSON text: a space, or a line break and what indents the next
/// line. Without a bound, small models write whitespace for ever.
const WHITESPACE: &str = r"\x20|\n(\x20{0,16}|\x09{0,8})";
/// Where a schema tells llguidance how to read it.
const OPTIONS: &str = "x-guidance";
/// Makes constraints for one model. What it takes is made once, for any number of replies.
///
/// ```
/// use ternary_grammar::{Compiler, Form, Grammars, Vocabulary};
///
/// let words = ["y", "e", "s", "n", "o", "<end>"].map(|word| word.as_bytes().to_vec());
/// let (specials, ends) = (vec![5], vec![5]);
/// let grammars = Grammars::new(&Vocabulary { words: words.to_vec(), specials, ends })?;
/// let mut answer = grammars.constraint(&Form::Regex("yes|no".to_owned()))?;
/// for id in [3, 4] {
///     assert!(answer.allowed()?.allows(id));
///     answer.accept(id)?;
/// }
/// assert!(answer.is_complete());
/// # Ok::<(), ternary_grammar::Error>(())
/// ```
pub struct Grammars {
    factory: ParserFactory,
    /// Names and ids of special tokens.
    specials: Vec<(Vec<u8>, u32)>,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.factory.tok_env().tok_trie().vocab_size();
        write!(f, "Grammars({tokens} tokens)")
    }
}

impl Grammars {
    /// For texts of these tokens.
    ///
    /// # Errors
    /// A vocabulary that llguidance cannot hold.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self> {
        let mut words = vocabulary.words.clone();
        let named = |id: &u32| Some((words.get(*id as usize)?.clone(), *id));
        let specials = vocabulary.specials.iter().filter_map(named).collect();
        for id in &vocabulary.specials {
            // A mark that no text has tells them from their letters.
            if let Some(word) = words.get_mut(*id as usize) {
                word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
        }
        let mut ends = vocabulary.ends.clone();
        if ends.is_empty() {
            // One that the model does not have stands for the end.
            ends.push(words.len() as u32);
            words.push(Vec::new());
        }
        let info = TokRxInfo::new(words.len() as u32, ends[0]);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(
            &tokens,
            InferenceCapabilities::default(),
            &llguidance::earley::SlicedBiasComputer::general_slices(),
        )
        .map_err(|e| Error::Grammar(e.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Grammars { factory, specials })
    }

    fn compile(&self, grammar: TopLevelGrammar) -> Result<Matcher, String> {
        let parser = self.factory.create_parser(grammar);
        Ok(Matcher::new(Ok(parser.map_err(|e| format!("{e:#}"))?)))
    }

    fn schema(&self, schema: &Value) -> Result<Matcher, String> {
        let mut schema = match readable(schema)? {
            Value::Object(schema) => schema,
            // Anything.
            Value::Bool(true) => Map::new(),
            _ => return Err("it is neither an object nor `true`".to_owned()),
        };
        schema.entry(OPTIONS).or_insert_with(options);
        let compiled = self.compile(TopLevelGrammar::from_json_schema(Value::Object(schema)));
        compiled.map_err(explained)
    }

    /// A schema that can be compiled, from its JSON, as the compiler reads it; `what` it is for.
    fn checked(&self, text: &str, what: &str) -> Result<(Value, Matcher)> {
        let refuse = |place, problem| Error::Form {
            what: what.to_owned(),
            place,
            problem,
        };
        let schema =
            serde_json::from_str(text).map_err(|e| refuse(None, format!("it is not JSON: {e}")))?;
        let compiled = self
            .schema(&schema)
            .and_then(|matcher| Ok((readable(&schema)?, matcher)));
        match compiled {
            Ok(compiled) => Ok(compiled),
            Err(problem) => Err(refuse(Some(self.place(&schema, &problem)), problem)),
        }
    }

    /// The schemas of functions' arguments, which are objects.
    fn arguments(&self, functions: &[Callable]) -> Result<Vec<Value>> {
        let schema = |function: &Callable| {
            let what = format!("the schema of {}'s parameters", function.name);
            Ok(of_object(self.checked(&function.parameters, &what)?.0))
        };
        functions.iter().map(schema).collect()
    }

    fn call(&self, functions: &[Callable]) -> Result<Result<Matcher, String>> {
        let schemas = self.arguments(functions)?;
        let any = calls::one_of(functions, &schemas, &["arguments"], "#");
        let schema = json!({ "anyOf": any, OPTIONS: options() });
        Ok(self.compile(TopLevelGrammar::from_json_schema(schema)))
    }

    fn calls(&self, calls: &Calls) -> Result<Result<Matcher, String>> {
        let schemas = self.arguments(&calls.functions)?;
        let special = |name: &str| {
            let known = |(word, id): &(Vec<u8>, u32)| (word == name.as_bytes()).then_some(*id);
            self.specials.iter().find_map(known)
        };
        let grammar = calls::grammar(calls, &schemas, &options(), special);
        Ok(self.compile(TopLevelGrammar::from_lark(grammar)))
    }

    /// Where in `schema` the smallest part stands that is refused for the same reason.
    fn place(&self, schema: &Value, problem: &str) -> String {
        let first_line = |text: &str| text.lines().next().map(str::to_owned);
        let why = first_line(problem);
        let (mut place, mut here) = ("#".to_owned(), schema);
        while let Some((step, part)) = parts(here).into_iter().find(|(_, part)| {
            let part = with_definitions(part, schema);
            self.schema(&part)
                .is_err_and(|problem| first_line(&problem) == why)
        }) {
            place = format!("{place}/{step}");
            here = part;
        }
        place
    }
}

impl Compiler for Grammars {
    fn constraint(&self, form: &Form) -> Result<Box<dyn Constraint>> {
        let refuse = |what: &'static str| {
            move |problem| Error::Form {
                what: what.to_owned(),
                place: None,
                problem,
            }
        };
        let matcher = match form {
            Form::JsonObject => self.schema(&json!({ "type": "object" })),
            Form::JsonSchema(text) => {
                let (_, matcher) = self.checked(text, "the JSON schema")?;
                Ok(matcher)
            }
            Form::Regex(text) => self.compile(TopLevelGrammar::from_regex(text)),
            Form::Lark(text) => self.compile(TopLevelGrammar::from_lark(text.clone())),
            Form::Calls(calls) => self.calls(calls)?,
            Form::Call(functions) => self.call(functions)?,
        };
        let what = match form {
            Form::Regex(_) => "the regular expression",
            Form::Calls(_) | Form::Call(_) => "the grammar of the functions",
            _ => "the grammar",
        };
        let mut matcher = matcher.map_err(refuse(what))?;
        // Of what people write themselves nothing else says so before the reply.
        let written = matches!(form, Form::Regex(_) | Form::Lark(_));
        if written && matcher.compute_mask_or_eos().is_err() {
            return Err(refuse(what)("no text is one of it".to_owned()));
        }
        Ok(Box::new(Grammar { matcher }))
    }
}

/// The schema of arguments, which are an object where it leaves open what it is of. One that names
/// no properties is of a function that takes none, for which a model would invent some.
fn of_object(schema: Value) -> Value {
    const SAYS: [&str; 7] = ["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"];
    const MORE: [&str; 8] = [
        "additionalProperties",
        "patternProperties",
        "required",
        "minProperties",
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
    ];
    match schema {
        Value::Object(mut fields) => {
            if !SAYS.iter().any(|keyword| fields.contains_key(*keyword)) {
                fields.insert("type".to_owned(), "object".into());
            }
            let named = fields.get("properties").and_then(Value::as_object);
            let none = named.is_some_and(Map::is_empty);
            if none && !MORE.iter().any(|keyword| fields.contains_key(*keyword)) {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
            Value::Object(fields)
        }
        _ => json!({ "type": "object" }),
    }
}

/// What schemas are read with.
fn options() -> Value {
    json!({ "whitespace_pattern": WHITESPACE })
}

/// Part of a schema that still finds what it refers to.
fn with_definitions(part: &Value, whole: &Value) -> Value {
    let mut part = part.clone();
    if let (Some(part), Some(whole)) = (part.as_object_mut(), whole.as_object()) {
        for keyword in ["$defs", "definitions", OPTIONS] {
            if let Some(definitions) = whole.get(keyword) {
                part.entry(keyword).or_insert_with(|| definitions.clone());
            }
        }
    }
    part
}

struct Grammar {
    matcher: Matcher,
}

impl Constraint for Grammar {
    fn allowed(&mut self) -> Result<TokenSet> {
        let mask = self.matcher.compute_mask_or_eos();
        let mask = mask.map_err(|e| Error::Grammar(e.to_string()))?;
        Ok(TokenSet::from_words(mask.as_slice().to_vec()))
    }

    fn accept(&mut self, id: u32) -> Result<()> {
        let taken = self.matcher.consume_token(id);
        taken.map_err(|e| Error::Grammar(e.to_string()))
    }

    fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}
