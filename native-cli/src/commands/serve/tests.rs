//! The server over a real socket, with a stand-in for the model.

mod described;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::app::App;
use super::fields::Rule;
use super::guard::Guard;
use super::models::{Model, Models};
use super::openapi::{self, ENDPOINTS};
use super::page::Page;
use super::server;
use super::testing::{Parrot, Setup, TOOL_TEMPLATE, ready};
use super::worker;

#[path = "../../../tests/common/http.rs"]
mod http;

use http::{Answer, Client, read};

/// How a test's server is set up.
struct Options {
    says: &'static str,
    pause: Duration,
    fails_at: Option<usize>,
    template: Option<&'static str>,
    capacity: usize,
    timeout: Duration,
    grace: Duration,
    keys: Option<&'static str>,
    cors: Vec<String>,
    models: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Options {
            says: "Hello",
            pause: Duration::ZERO,
            fails_at: None,
            template: Setup::default().template,
            capacity: 8,
            timeout: Duration::from_secs(20),
            grace: Duration::from_secs(5),
            keys: None,
            cors: Vec::new(),
            models: &["m"],
        }
    }
}

struct Server {
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    gone: Arc<AtomicUsize>,
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    fn start(options: Options) -> Self {
        let gone = Arc::new(AtomicUsize::new(0));
        let key_file = options.keys.map(|keys| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, keys).unwrap();
            file
        });
        let path = key_file.as_ref().map(tempfile::NamedTempFile::path);
        let here = [std::net::Ipv4Addr::LOCALHOST.into()];
        let app = App {
            models: Models::new(options.capacity),
            metrics: Arc::default(),
            active: Arc::default(),
            guard: Guard::new(path, &options.cors, &here, false).unwrap(),
            page: Page::default(),
            max_body: 64 << 10,
            timeout: options.timeout,
            log_prompts: false,
        };
        for name in options.models {
            let (model, jobs) = Model::new(name, &format!("{name}.1bit"), options.capacity);
            let mut parrot = Parrot {
                says: options.says.into(),
                pause: options.pause,
                fails_at: options.fails_at,
                gone: gone.clone(),
                ..Parrot::default()
            };
            model.set_ready(ready(&Setup {
                template: options.template,
                ..Setup::default()
            }));
            let weak = Arc::downgrade(&model);
            std::thread::spawn(move || worker::run(&mut parrot, &jobs, &weak));
            app.models.add_running(model, &[]);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                server::serve(Arc::new(app), vec![listener], stop, options.grace).await;
            });
            runtime.shutdown_background();
        });
        Server {
            client: Client {
                address: told.recv().unwrap(),
            },
            stop: Some(stop),
            thread: Some(thread),
            gone,
        }
    }

    fn ask_to_end(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }

    fn end(&mut self) {
        self.ask_to_end();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hi"}]})
}

fn with(mut body: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

#[test]
fn chats_are_answered_whole_and_streamed() {
    let server = Server::start(Options::default());
    let answer = server.post(
        "/v1/chat/completions",
        &with(hello(), json!({"n": 2, "model": "m"})),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let v = answer.json();
    for index in 0..2 {
        assert_eq!(v["choices"][index]["message"]["content"], "Hello");
        assert_eq!(v["choices"][index]["index"], index);
    }
    assert_eq!(v["usage"]["completion_tokens"], 10);
    let streamed = with(
        hello(),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let answer = server.post("/v1/chat/completions", &streamed);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let events: Vec<Value> = events
        .iter()
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    let text: String = events
        .iter()
        .filter_map(|e| e["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Hello");
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 5);
    let cut = server.post(
        "/v1/chat/completions",
        &with(hello(), json!({"max_tokens": 2})),
    );
    assert_eq!(cut.json()["choices"][0]["finish_reason"], "length");
    let scored = server.post(
        "/v1/chat/completions",
        &with(hello(), json!({"logprobs": true})),
    );
    let tokens = &scored.json()["choices"][0]["logprobs"]["content"];
    assert_eq!(
        (tokens.as_array().unwrap().len(), &tokens[0]["logprob"]),
        (5, &json!(-0.5))
    );
}

#[test]
fn calls_are_told_in_every_api() {
    let server = Server::start(Options {
        says: "See:\n<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>",
        template: Some(TOOL_TEMPLATE),
        ..Options::default()
    });
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    let v = server
        .post("/v1/chat/completions", &with(hello(), tools.clone()))
        .json();
    let choice = &v["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{v}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        call["function"],
        json!({"name": "f", "arguments": "{\"a\":1}"})
    );
    assert_eq!(call["id"].as_str().unwrap().len(), 9);
    let streamed = with(with(hello(), tools), json!({"stream": true}));
    let events = server.post("/v1/chat/completions", &streamed).events();
    assert!(
        events.iter().any(|e| e.contains("tool_calls\":[{")),
        "{events:?}"
    );
    let body = json!({"input": "Hi", "tools": [{"type": "function", "name": "f"}]});
    let v = server.post("/v1/responses", &body).json();
    assert_eq!(v["output"][1]["type"], "function_call", "{v}");
    let body = with(
        hello(),
        json!({"max_tokens": 99, "tools": [{"name": "f", "input_schema": {}}]}),
    );
    let v = server.post("/v1/messages", &body).json();
    assert_eq!(
        (&v["stop_reason"], &v["content"][1]["input"]),
        (&json!("tool_use"), &json!({"a": 1}))
    );
    // Without tools it is text.
    let v = server.post("/v1/chat/completions", &hello()).json();
    assert!(
        v["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("<tool_call>")
    );
}

#[test]
fn every_other_endpoint_answers() {
    let server = Server::start(Options::default());
    let body = json!({"prompt": ["ab", "c"], "echo": true, "logprobs": 1, "max_tokens": 2});
    let v = server.post("/v1/completions", &body).json();
    assert_eq!(v["choices"][0]["text"], "abHe");
    assert_eq!(v["choices"][1]["text"], "cHe");
    let scores = &v["choices"][0]["logprobs"];
    assert_eq!(
        scores["token_logprobs"],
        json!([null, -1.0, -0.5, -0.5]),
        "{v}"
    );
    assert_eq!(scores["tokens"], json!(["a", "b", "H", "e"]));
    let streamed = json!({"prompt": "ab", "echo": true, "stream": true});
    let events = server.post("/v1/completions", &streamed).events();
    assert!(
        events[0].contains("\"ab\"") && events.last().unwrap() == "[DONE]",
        "{events:?}"
    );

    let v = server.post("/v1/responses", &json!({"input": "Hi"})).json();
    assert_eq!(v["output"][0]["content"][0]["text"], "Hello");
    let events = server.post("/v1/responses", &json!({"input": "Hi", "stream": true}));
    assert!(
        events.body.contains("event: response.completed"),
        "{}",
        events.body
    );

    let v = server
        .post("/v1/embeddings", &json!({"input": ["a", "b", "c"]}))
        .json();
    assert_eq!(v["data"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&v["data"][2]["index"], &v["usage"]["total_tokens"]),
        (&json!(2), &json!(3))
    );
    let many: Vec<String> = (0..50).map(|i| i.to_string()).collect();
    let v = server.post(
        "/v1/embeddings",
        &json!({"input": many, "encoding_format": "base64"}),
    );
    assert!(v.json()["data"][49]["embedding"].is_string());

    let body = with(hello(), json!({"max_tokens": 9}));
    let v = server.post("/v1/messages", &body).json();
    assert_eq!(
        (&v["content"][0]["text"], &v["stop_reason"]),
        (&json!("Hello"), &json!("end_turn"))
    );
    let events = server.post("/v1/messages", &with(body, json!({"stream": true})));
    assert!(
        events.body.starts_with("event: message_start"),
        "{}",
        events.body
    );
    assert!(events.body.contains("event: message_stop"));
    let v = server.post("/v1/messages/count_tokens", &hello()).json();
    assert_eq!(v["input_tokens"], 5);

    let v = server
        .post("/tokenize", &json!({"content": "ab", "with_pieces": true}))
        .json();
    assert_eq!(
        (&v["count"], &v["tokens"][1]["piece"]),
        (&json!(2), &json!("b"))
    );
    let ids = server.post("/tokenize", &json!({"content": "hé"})).json()["tokens"].clone();
    let v = server.post("/detokenize", &json!({"tokens": ids})).json();
    assert_eq!(v["content"], "hé");
    let marked = "<|user|>h <|end|>é";
    let ids = server.post("/tokenize", &json!({"content": marked})).json()["tokens"].clone();
    let v = server.post("/detokenize", &json!({"tokens": ids})).json();
    assert_eq!(v["content"], marked);
    assert_eq!(
        server.post("/detokenize", &json!({"tokens": []})).json()["content"],
        ""
    );
    let v = server.post("/apply-template", &hello()).json();
    assert_eq!(v["prompt"], "<|user|>Hi<|end|><|assistant|>");

    assert_eq!(server.get("/v1/models").json()["data"][1]["id"], "m:poet");
    assert_eq!(server.get("/v1/models/m").json()["id"], "m");
    assert_eq!(server.get("/v1/models/x").status, 404);
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
    assert_eq!(server.get("/openapi.json").json()["openapi"], "3.1.0");
    let example = format!("curl http://{}/v1/", server.address);
    assert!(server.get("/").body.contains(&example), "{example}");
    assert_eq!(server.get("/nothing").json()["error"]["code"], "not_found");
    assert_eq!(server.get("/v1/completions").status, 405);
    let figures = server.get("/metrics").body;
    for line in [
        "onebit_requests_total{endpoint=\"/v1/completions\",status=\"200\"} 2",
        "onebit_requests_total{endpoint=\"other\",status=\"404\"} 1",
        "onebit_running{model=\"m\"} 0",
        "onebit_waiting{model=\"m\"} 0",
    ] {
        assert!(figures.lines().any(|l| l == line), "{line} in\n{figures}");
    }
}

#[test]
fn models_and_adapters_are_chosen_by_name() {
    let server = Server::start(Options {
        models: &["a", "b"],
        ..Options::default()
    });
    let text = |model: &str| {
        let answer = server.post(
            "/v1/chat/completions",
            &with(hello(), json!({"model": model})),
        );
        let v = answer.json();
        match answer.status {
            200 => v["choices"][0]["message"]["content"]
                .as_str()
                .unwrap()
                .to_owned(),
            status => format!("{status} {}", v["error"]["code"].as_str().unwrap()),
        }
    };
    assert_eq!(text("b"), "Hello");
    assert_eq!(text("b:poet"), "poet:Hello");
    // Two models have it, and neither answers to its file's name.
    assert_eq!(text("poet"), "404 model_not_found");
    assert_eq!(text("a.1bit"), "404 model_not_found");
    let unnamed = server.post("/v1/chat/completions", &hello());
    assert_eq!(
        (unnamed.status, &unnamed.json()["error"]["param"]),
        (400, &json!("model"))
    );
    let missing = server.post(
        "/v1/chat/completions",
        &with(hello(), json!({"model": "c"})),
    );
    let message = missing.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("a, a:poet, b, b:poet"), "{message}");
    let one = Server::start(Options::default());
    for name in ["m", "m.1bit", "poet"] {
        let answer = one.post(
            "/v1/chat/completions",
            &with(hello(), json!({"model": name})),
        );
        assert_eq!(answer.status, 200, "{name}");
    }
}

/// The parameters of the description are those that the parser takes, and no others.
#[test]
fn the_description_says_what_the_parser_takes() {
    let server = Server::start(Options {
        template: Some(TOOL_TEMPLATE),
        ..Options::default()
    });
    let document = openapi::document();
    for endpoint in ENDPOINTS {
        let path = &document["paths"][endpoint.path];
        let Some(tables) = endpoint.parameters else {
            assert!(path["get"].is_object(), "{}", endpoint.path);
            continue;
        };
        let schema = &path["post"]["requestBody"]["content"]["application/json"]["schema"];
        let properties = schema["properties"].as_object().unwrap();
        let all: Vec<_> = tables.iter().copied().flatten().collect();
        assert_eq!(
            properties.len(),
            all.len(),
            "{}: a name stands there twice",
            endpoint.path
        );
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let sample = |name: &str| {
            let found = all.iter().find(|p| p.name == name).unwrap();
            (found.name.to_owned(), parsed(found.sample))
        };
        let least: serde_json::Map<String, Value> =
            endpoint.required.iter().map(|name| sample(name)).collect();
        for parameter in &all {
            let mut body = least.clone();
            // What goes only with another.
            match parameter.name {
                "stream_options" => drop(body.insert("stream".into(), true.into())),
                "tool_choice" => body.extend([sample("tools")]),
                _ => {}
            }
            let name = parameter.name;
            let status = |value: Value| {
                let mut body = body.clone();
                body.insert(name.into(), value);
                let answer = server.post(endpoint.path, &body.into());
                let said = answer.body.clone();
                (answer.status, said)
            };
            let (accepted, wrong) = match parameter.rule {
                Rule::Used => (vec![parsed(parameter.sample)], Some(json!({"\u{1}": [[]]}))),
                Rule::Ignored => (vec![parsed(parameter.sample)], None),
                Rule::Only(values) => (
                    parsed(values).as_array().unwrap().clone(),
                    Some(json!({"\u{1}": [[]]})),
                ),
                Rule::Refused(_) => (Vec::new(), Some(json!({"\u{1}": [[]]}))),
            };
            for value in accepted {
                let (status, said) = status(value);
                assert_eq!(status, 200, "{} {name}: {said}", endpoint.path);
            }
            // metadata and the template's values may be anything.
            if let Some(value) = wrong
                && !["metadata", "chat_template_kwargs"].contains(&name)
            {
                let (status, said) = status(value);
                assert_eq!(status, 400, "{} {name}: {said}", endpoint.path);
                assert!(said.contains(name), "{} {name}: {said}", endpoint.path);
            }
        }
        let mut unknown = least.clone();
        unknown.insert("frobnicate".into(), 1.into());
        let answer = server.post(endpoint.path, &unknown.into());
        assert_eq!(answer.status, 400, "{}", endpoint.path);
        assert!(answer.body.contains("frobnicate"), "{}", answer.body);
        // Each that must be there is missed.
        for name in endpoint.required {
            let mut without = least.clone();
            without.remove(*name);
            let answer = server.post(endpoint.path, &without.into());
            assert_eq!(answer.status, 400, "{} without {name}", endpoint.path);
            assert!(answer.body.contains(name), "{}", answer.body);
        }
    }
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    let server = Server::start(Options::default());
    let chat = "/v1/chat/completions";
    let error = |answer: &Answer| {
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let broken = server.raw("POST", chat, "", b"{\"messages\": [}");
    assert_eq!(broken.status, 400);
    assert!(
        error(&broken).contains("line 1 column 15"),
        "{}",
        broken.body
    );
    let bytes = server.raw("POST", chat, "", b"{\"model\": \"\xff\"}");
    assert_eq!(bytes.status, 400);
    assert!(error(&bytes).contains("byte 11"), "{}", bytes.body);
    assert_eq!(server.raw("POST", chat, "", b"").status, 400);
    assert_eq!(server.raw("POST", chat, "", b"[]").status, 400);
    let nested = "[".repeat(100_000);
    let deep = server.raw("POST", chat, "", &nested.as_bytes()[..60_000]);
    assert_eq!(deep.status, 400);
    let zipped = server.raw("POST", chat, "Content-Encoding: gzip\r\n", b"{}");
    assert_eq!(zipped.status, 415);
    let large = vec![b' '; 10 << 20];
    let answer = server.raw("POST", chat, "", &large);
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (413, &json!("body_too_large"))
    );
    // In Anthropic's shape where that is spoken.
    let answer = server.raw("POST", "/v1/messages", "", b"{");
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert_eq!(answer.json()["type"], "error");
    // A text that fills the context.
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(600)}]});
    let answer = server.post(chat, &long);
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_client_that_goes_away_ends_its_reply() {
    let server = Server::start(Options {
        says: "a long reply that nobody waits for, or at least not to its end",
        pause: Duration::from_millis(30),
        ..Options::default()
    });
    let body = with(hello(), json!({"stream": true})).to_string();
    let mut stream = server.send("POST", "/v1/chat/completions", "", body.as_bytes());
    let mut some = [0; 200];
    stream.read_exact(&mut some).unwrap();
    drop(stream);
    server.wait_for(|_| server.gone.load(Ordering::SeqCst) == 1);
    // Also one that waits for the whole.
    let stream = server.send(
        "POST",
        "/v1/chat/completions",
        "",
        hello().to_string().as_bytes(),
    );
    std::thread::sleep(Duration::from_millis(200));
    drop(stream);
    server.wait_for(|_| server.gone.load(Ordering::SeqCst) == 2);
    server.wait_for(|s| s.get("/metrics").body.contains("onebit_aborted_total 1"));
    // Connections on which nothing, or half a head, is said hold nobody up.
    let mut half = server.connect();
    half.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost")
        .unwrap();
    let _silent = server.connect();
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let server = Server::start(Options {
        says: "slow",
        pause: Duration::from_millis(100),
        capacity: 3,
        ..Options::default()
    });
    let body = hello().to_string();
    let open: Vec<TcpStream> = (0..3)
        .map(|_| server.send("POST", "/v1/chat/completions", "", body.as_bytes()))
        .collect();
    server.wait_for(|s| {
        let figures = s.get("/metrics").body;
        figures.contains("onebit_running{model=\"m\"} 2")
            && figures.contains("onebit_waiting{model=\"m\"} 1")
    });
    let refused = server.post("/v1/chat/completions", &hello());
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    assert!(
        refused
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    for stream in open {
        assert_eq!(read(stream).status, 200);
    }
    // All places are free again, a moment after the last byte was read.
    let three = with(hello(), json!({"n": 3}));
    server.wait_for(|s| s.post("/v1/chat/completions", &three).status == 200);
    let many = server.post("/v1/chat/completions", &with(hello(), json!({"n": 4})));
    assert_eq!(
        (many.status, &many.json()["error"]["param"]),
        (400, &json!("n"))
    );
}

#[test]
fn a_request_has_a_time_limit() {
    let server = Server::start(Options {
        says: "never to be finished in such a time",
        pause: Duration::from_millis(100),
        timeout: Duration::from_millis(400),
        ..Options::default()
    });
    let late = server.post("/v1/chat/completions", &hello());
    assert_eq!(
        (late.status, &late.json()["error"]["code"]),
        (504, &json!("timeout"))
    );
    let late = server.post(
        "/v1/chat/completions",
        &with(hello(), json!({"stream": true})),
    );
    assert!(
        late.events().last().unwrap().contains("timeout"),
        "{}",
        late.body
    );
    server.wait_for(|_| server.gone.load(Ordering::SeqCst) == 2);
}

#[test]
fn keys_are_asked_for_and_probes_need_none() {
    let server = Server::start(Options {
        keys: Some("# ours\nsecret\n"),
        cors: vec!["https://a.org".into()],
        ..Options::default()
    });
    let body = hello().to_string();
    let ask = |headers: &str| server.raw("POST", "/v1/chat/completions", headers, body.as_bytes());
    assert_eq!(ask("").status, 401);
    assert_eq!(
        ask("Authorization: Bearer wrong\r\n").json()["error"]["code"],
        "invalid_api_key"
    );
    assert_eq!(ask("Authorization: Bearer secret\r\n").status, 200);
    assert_eq!(ask("x-api-key: secret\r\n").status, 200);
    assert_eq!(server.get("/v1/models").status, 401);
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/").status, 200);
    let anthropic = server.raw("POST", "/v1/messages", "", body.as_bytes());
    assert_eq!(anthropic.json()["error"]["type"], "authentication_error");
    // Pages of a site that may ask, and of one that may not.
    let asked = server.raw("OPTIONS", "/v1/models", "Origin: https://a.org\r\n", b"");
    assert_eq!(asked.status, 204);
    assert_eq!(
        asked.header("access-control-allow-origin"),
        Some("https://a.org")
    );
    // OpenAI's and Anthropic's clients have headers that nobody could list beforehand.
    let names = "authorization,x-stainless-helper-method";
    let origin = "Origin: https://a.org\r\n";
    let wanted = format!("{origin}Access-Control-Request-Headers: {names}\r\n");
    let asked = server.raw("OPTIONS", "/v1/chat/completions", &wanted, b"");
    assert_eq!(asked.header("access-control-allow-headers"), Some(names));
    let wanted = wanted.replace("a.org", "b.org");
    let asked = server.raw("OPTIONS", "/v1/chat/completions", &wanted, b"");
    assert_eq!(asked.header("access-control-allow-headers"), None);
    let allowed = ask("Origin: https://a.org\r\nAuthorization: Bearer secret\r\n");
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://a.org")
    );
    assert_eq!(
        ask("Origin: https://b.org\r\nAuthorization: Bearer secret\r\n").status,
        403
    );
}

/// A probe that asks for the head alone has all that it asked for.
#[test]
fn heads_are_not_counted_as_aborted() {
    let server = Server::start(Options::default());
    for path in ["/health", "/v1/models"] {
        assert_eq!(server.raw("HEAD", path, "", b"").status, 200);
    }
    let figures = server.get("/metrics").body;
    assert!(figures.contains("onebit_aborted_total 0"), "{figures}");
}

#[test]
fn an_address_that_is_nearly_right_is_told_the_right_one() {
    let server = Server::start(Options::default());
    for (path, said) in [
        ("/chat/completions", "perhaps /v1/chat/completions is"),
        ("/v1/v1/messages", "perhaps /v1/messages is"),
        ("/v1/responses/", "perhaps /v1/responses is"),
        ("/v1/tokenize", "perhaps /tokenize is"),
        ("/v1/files", "/openapi.json lists"),
        ("/v1/", "/openapi.json lists"),
    ] {
        let answer = server.post(path, &hello());
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains(said), "{path}: {}", answer.body);
    }
}

#[test]
fn bodies_as_programs_save_them_are_read() {
    let server = Server::start(Options::default());
    let body = format!("\u{feff}{}\r\n", hello());
    let ask = |headers: &str, body: &str| {
        server.raw("POST", "/v1/chat/completions", headers, body.as_bytes())
    };
    assert_eq!(ask("Content-Encoding: Identity\r\n", &body).status, 200);
    let empty = ask("", "\n");
    assert_eq!(empty.status, 400);
    assert!(empty.body.contains("the body is empty"), "{}", empty.body);
}

#[test]
fn a_failed_device_is_told_and_not_asked_again() {
    let server = Server::start(Options {
        fails_at: Some(2),
        ..Options::default()
    });
    let failed = server.post("/v1/chat/completions", &hello());
    assert_eq!(failed.status, 500, "{}", failed.body);
    server.wait_for(|s| s.get("/health").status == 503);
    let after = server.post("/v1/chat/completions", &hello());
    assert_eq!(
        (after.status, &after.json()["error"]["code"]),
        (503, &json!("model_failed"))
    );
}

#[test]
fn the_end_waits_for_replies_and_for_nothing_else() {
    let mut server = Server::start(Options {
        says: "to the end",
        pause: Duration::from_millis(50),
        ..Options::default()
    });
    // A kept connection, and one on which nothing is said.
    let _idle = server.connect();
    let body = with(hello(), json!({"stream": true})).to_string();
    let mut stream = server.send("POST", "/v1/chat/completions", "", body.as_bytes());
    let mut some = [0; 100];
    stream.read_exact(&mut some).unwrap();
    let begun = Instant::now();
    server.ask_to_end();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
    server.end();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert!(TcpStream::connect(server.address).is_err());
    // A reply that takes too long is cut off.
    let mut server = Server::start(Options {
        says: "and on and on and on and on and on and on",
        pause: Duration::from_millis(200),
        grace: Duration::from_millis(300),
        ..Options::default()
    });
    let stream = server.send("POST", "/v1/chat/completions", "", body.as_bytes());
    server.wait_for(|s| {
        s.get("/metrics")
            .body
            .contains("onebit_running{model=\"m\"} 1")
    });
    let begun = Instant::now();
    server.end();
    assert!(begun.elapsed() < Duration::from_secs(3));
    drop(stream);
}
