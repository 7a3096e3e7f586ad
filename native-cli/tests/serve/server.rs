//! A server of a test's own, and the models that it serves.

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ternary_scripted::{Chain, Llama, Model, Tokenizer, reply};

use crate::common::{line, run, start};
use crate::http::Client;

/// What the scripted model answers.
pub const REPLY: &str = "I do hear you";
/// What the model that calls a tool answers.
pub const CALL: &str = r#"<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>"#;

/// A template that tells of tools.
const TOOL_TEMPLATE: &str = "{% if tools %}<|system|>{% for t in tools %}{{ t | tojson }}{% endfor %}<|end|>{% endif %}\
    {% for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>{{ m.content }}\
    {% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|end|>{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Made once: `m.1bit` says [`REPLY`] to everything, `caller.1bit` calls a tool, `long.1bit` never
/// ends, `poet/` is an adapter of `m.1bit` that changes nothing much.
pub fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let program = std::env::current_exe().unwrap();
        let name = format!("{}-models", program.file_stem().unwrap().display());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
        std::fs::create_dir_all(&dir).unwrap();
        let import = |model: Model, name: &str| {
            model.write_hf(&dir.join(name));
            let file = format!("{name}.1bit");
            run(&dir, &["import", "--input", name, "--output", &file]).ok();
        };
        import(reply(&["I do", " hear", " you"]), "m");
        let tokenizer = Tokenizer::byte_level(&[CALL]);
        let chain = Chain::walk(&tokenizer, &["<|assistant|>"], &[CALL], "<|end|>");
        import(
            Model::new(tokenizer, Llama::default(), chain).template(TOOL_TEMPLATE),
            "caller",
        );
        // "ab" again and again.
        let tokenizer = Tokenizer::byte_level(&[]);
        let (a, b) = (tokenizer.id("a"), tokenizer.id("b"));
        let begin = tokenizer.id("<|assistant|>");
        let chain = Chain::default().then(begin, a).then(a, b).then(b, a);
        let llama = Llama {
            context: 60_000,
            ..Llama::default()
        };
        import(
            Model::new(tokenizer, llama, chain).template(ternary_scripted::CHATML),
            "long",
        );
        std::fs::write(dir.join("new.txt"), "a b c d e f g h ".repeat(300)).unwrap();
        line(
            &dir,
            "finetune --model m.1bit --data-dir new.txt --output-dir poet --device cpu --mode lora \
             --lr 1e-5 --max-steps 1 --batch-size 1 --set seq_len=16",
        )
        .ok();
        dir
    })
}

/// A running server, which is ended with the test.
pub struct Server {
    client: Client,
    child: Option<Child>,
    said: Arc<Mutex<String>>,
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    /// `onebit serve` with these arguments in `dir`, on the CPU, when it is ready.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        let fixed = ["serve", "--port", "0", "--device", "cpu", "--threads", "1"];
        let mut child = start(dir, &[&fixed, args].concat());
        let said: Arc<Mutex<String>> = Arc::default();
        let (shared, stderr) = (said.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = shared.lock().unwrap();
                *said += &line;
                said.push('\n');
            }
        });
        let mut server = Server {
            client: Client {
                address: ([127, 0, 0, 1], 0).into(),
            },
            child: Some(child),
            said,
        };
        server.wait_until_said("\nready\n");
        let said = server.said();
        let address = said
            .lines()
            .find_map(|l| l.strip_prefix("listening on http://"));
        server.client.address = address.unwrap().parse().unwrap();
        server
    }

    /// The scripted model alone.
    pub fn plain() -> Self {
        Self::start(models(), &["--model", "m.1bit"])
    }

    /// What it has written to standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn wait_until_said(&mut self, words: &str) {
        let begun = Instant::now();
        while !format!("\n{}", self.said()).contains(words) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended:\n{}", self.said());
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "no {words:?} in\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Send it a signal: TERM, INT or HUP.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let mut kill = std::process::Command::new("kill");
        let status = kill.args([&format!("-{name}"), &id]).status().unwrap();
        assert!(status.success());
    }

    /// The code it ends with.
    pub fn end(&mut self) -> Option<i32> {
        let status = self.child.take().unwrap().wait().unwrap();
        let said = self.said();
        assert!(!said.contains("panicked at"), "{said}");
        status.code()
    }
}

/// A conversation of one message, with more parameters.
pub fn hello(more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Hello"}], "temperature": 0});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}
