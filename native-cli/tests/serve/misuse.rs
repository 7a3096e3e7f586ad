//! What is wrong with a request, a connection or the arguments; and the end.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{line, run};
use crate::http::read;
use crate::server::{Server, hello, models};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn bad_requests_are_refused_and_the_server_goes_on() {
    let server = Server::plain();
    for (path, body, param) in [
        (CHAT, hello(json!({"frobnicate": 1})), "frobnicate"),
        (CHAT, hello(json!({"temperature": -1})), "temperature"),
        (
            CHAT,
            hello(
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}}),
            ),
            "response_format",
        ),
        (
            CHAT,
            hello(json!({"parallel_tool_calls": "no"})),
            "parallel_tool_calls",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "suffix": "b"}),
            "suffix",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "best_of": 3}),
            "best_of",
        ),
        ("/v1/completions", json!({"prompt": [1, 999_999]}), "prompt"),
        (
            "/v1/embeddings",
            json!({"input": "a", "dimensions": 4}),
            "dimensions",
        ),
        (
            "/v1/responses",
            json!({"input": "a", "store": true}),
            "store",
        ),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.body);
    }
    let broken = server.raw("POST", CHAT, "", b"{\"messages\": ");
    assert!(
        broken.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("line 1")
    );
    let bytes = server.raw("POST", CHAT, "", b"{\"a\": \"\xc3\x28\"}");
    assert!(
        bytes.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("UTF-8")
    );
    let large = server.raw("POST", CHAT, "", &vec![b'x'; 10 << 20]);
    assert_eq!(large.status, 413);
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(5000)}]});
    assert_eq!(
        server.post(CHAT, &long).json()["error"]["code"],
        "context_length_exceeded"
    );
    // Half a head, half a body, nothing at all, and noise.
    let mut half = server.connect();
    half.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHo")
        .unwrap();
    let mut body = server.connect();
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    body.write_all(head.as_bytes()).unwrap();
    let _silent = server.connect();
    let mut noise = server.connect();
    noise.write_all(&[0xff; 4096]).unwrap();
    let mut said = Vec::new();
    let _ = noise.read_to_end(&mut said);
    drop((half, body));
    server.post(CHAT, &hello(json!({}))).ok();
    // No text of a request is in the log.
    let line = "path=/v1/chat/completions model=m status=200";
    server.wait_for(|_| server.said().contains(line));
    let said = server.said();
    assert!(!said.contains("Hello"), "{said}");
}

#[test]
fn texts_are_logged_only_if_asked() {
    let server = Server::start(models(), &["--model", "m.1bit", "--log-prompts"]);
    server.post(CHAT, &hello(json!({}))).ok();
    server.wait_for(|_| server.said().contains("reply of m: \"I do hear you\""));
    assert!(
        server.said().contains("\"content\":\"Hello\""),
        "{}",
        server.said()
    );
}

#[test]
fn clients_that_go_away_free_their_places() {
    let args = ["--model", "long.1bit", "--parallel", "1", "--queue", "1"];
    let server = Server::start(models(), &args);
    let body = hello(json!({"stream": true})).to_string();
    let running = |count: usize, waiting: usize| {
        move |client: &crate::http::Client| {
            let figures = client.get("/metrics").body;
            figures.contains(&format!("onebit_running{{model=\"long\"}} {count}\n"))
                && figures.contains(&format!("onebit_waiting{{model=\"long\"}} {waiting}\n"))
        }
    };
    for _ in 0..3 {
        let mut first = server.send("POST", CHAT, "", body.as_bytes());
        first.read_exact(&mut [0; 400]).unwrap();
        let second = server.send("POST", CHAT, "", body.as_bytes());
        server.wait_for(running(1, 1));
        let third = server.post(CHAT, &hello(json!({})));
        assert_eq!(third.status, 429, "{}", third.body);
        assert!(third.header("retry-after").is_some());
        drop((first, second));
        server.wait_for(running(0, 0));
    }
}

#[test]
fn a_time_limit_ends_a_request() {
    let server = Server::start(models(), &["--model", "long.1bit", "--timeout", "1"]);
    let late = server.post(CHAT, &hello(json!({})));
    assert_eq!(
        (late.status, &late.json()["error"]["code"]),
        (504, &json!("timeout"))
    );
}

#[test]
fn the_end_lets_replies_finish() {
    let mut server = Server::start(models(), &["--model", "long.1bit", "--grace", "20"]);
    let body = hello(json!({"stream": true, "max_tokens": 300})).to_string();
    let mut stream = server.send("POST", CHAT, "", body.as_bytes());
    stream.read_exact(&mut [0; 400]).unwrap();
    let _silent = server.connect();
    server.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("\"length\"") && rest.contains("[DONE]"),
        "{rest}"
    );
    assert_eq!(server.end(), Some(0));
    // One that does not end is cut off.
    let mut server = Server::start(models(), &["--model", "long.1bit", "--grace", "1"]);
    let body = hello(json!({"stream": true})).to_string();
    let mut stream = server.send("POST", CHAT, "", body.as_bytes());
    stream.read_exact(&mut [0; 400]).unwrap();
    let begun = Instant::now();
    server.signal("INT");
    assert_eq!(server.end(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert!(server.said().contains("cut off"), "{}", server.said());
}

#[test]
fn changed_files_are_loaded_anew() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        // As an update should be: whole, in one step.
        std::fs::copy(models().join(from), dir.path().join("new")).unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("a.1bit")).unwrap();
    };
    copy("m.1bit");
    let mut server = Server::start(dir.path(), &["--model", "a.1bit"]);
    server.signal("HUP");
    server.wait_until_said("no model's files have changed");
    copy("caller.1bit");
    server.signal("HUP");
    server.wait_until_said("a: loaded");
    let v = server.post(CHAT, &hello(json!({}))).ok();
    assert_eq!(v["choices"][0]["message"]["content"], crate::server::CALL);
    std::fs::write(dir.path().join("a.1bit"), "broken").unwrap();
    server.signal("HUP");
    server.wait_until_said("the one before stays");
    server.post(CHAT, &hello(json!({}))).ok();
}

#[test]
fn keys_and_sites() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys"), "# ours\nsecret\n").unwrap();
    std::fs::copy(models().join("m.1bit"), dir.path().join("m.1bit")).unwrap();
    let args = [
        "--model",
        "m.1bit",
        "--api-key-file",
        "keys",
        "--cors",
        "https://a.org",
    ];
    let server = Server::start(dir.path(), &args);
    let body = hello(json!({})).to_string();
    let status = |headers: &str| server.raw("POST", CHAT, headers, body.as_bytes()).status;
    assert_eq!(status(""), 401);
    assert_eq!(status("Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(status("Authorization: Bearer secret\r\n"), 200);
    assert_eq!(
        status("x-api-key: secret\r\nOrigin: https://a.org\r\n"),
        200
    );
    assert_eq!(
        status("x-api-key: secret\r\nOrigin: https://b.org\r\n"),
        403
    );
    assert_eq!(server.get("/health").status, 200);
    let page = server.get("/");
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(
        page.header("cross-origin-opener-policy"),
        Some("same-origin")
    );
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let dir = models();
    line(dir, "serve").fails(&["--model"]);
    line(dir, "serve --model nowhere.1bit").fails(&["nowhere.1bit", "does not exist"]);
    line(dir, "serve --model m.1bit --model m.1bit").fails(&["called m", "NAME=PATH"]);
    line(dir, "serve --model m.1bit --host 0.0.0.0").fails(&["--api-key-file", "--insecure"]);
    line(dir, "serve --model m.1bit --api-key-file nowhere").fails(&["nowhere"]);
    line(dir, "serve --model m.1bit --adapter poet").fails(&["NAME=DIR"]);
    line(dir, "serve --model m.1bit --cors a.org").fails(&["--cors a.org", "https://"]);
    line(dir, "serve --model m.1bit --parallel 0").fails(&["--parallel", "at least 1"]);
    line(dir, "serve --model m.1bit --timeout 0").fails(&["--timeout", "1 to 86400"]);
    line(dir, "serve --model m.1bit --page poet").fails(&["index.html"]);
    line(dir, "serve --model a:b=m.1bit").fails(&["a:b"]);
    line(dir, "serve --model new.txt --port 0 --device cpu").fails(&["new.txt"]);
    let taken = Server::plain();
    let port = taken.address.port().to_string();
    let again = [
        "serve", "--model", "m.1bit", "--device", "cpu", "--port", &port,
    ];
    run(dir, &again).fails(&["cannot listen on 127.0.0.1", &port, "another --port"]);
    let wrong = [
        "serve",
        "--model",
        "caller.1bit",
        "--port",
        "0",
        "--device",
        "cpu",
        "--adapter",
        "p=new.txt",
    ];
    run(dir, &wrong).fails(&["--adapter p"]);
}

#[test]
fn whole_answers_can_wait_behind_each_other() {
    let server = Server::start(
        models(),
        &["--model", "m.1bit", "--parallel", "2", "--queue", "30"],
    );
    let body = hello(json!({})).to_string();
    let open: Vec<_> = (0..20)
        .map(|_| server.send("POST", CHAT, "", body.as_bytes()))
        .collect();
    for stream in open {
        let v = read(stream).ok();
        assert_eq!(v["choices"][0]["message"]["content"], crate::server::REPLY);
    }
}
