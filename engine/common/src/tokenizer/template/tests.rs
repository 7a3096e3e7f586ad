use super::*;

fn user(text: &str) -> Message {
    Message::new("user", text)
}

fn rendered(source: &str, messages: &[Message]) -> String {
    ChatTemplate::new(source).unwrap().render(messages).unwrap()
}

/// What a template prints that does not use its messages.
fn printed(source: &str) -> String {
    rendered(source, &[])
}

fn refused(source: &str) -> String {
    let run = ChatTemplate::new(source).and_then(|t| t.render(&[user("Hi")]));
    run.unwrap_err().to_string()
}

#[test]
fn the_projects_template_marks_turns() {
    let t = ChatTemplate::new(CHAT_TEMPLATE).unwrap();
    let text = t
        .render(&[
            user(" Hi! "),
            Message::new("assistant", "Hello."),
            user("Bye"),
        ])
        .unwrap();
    assert_eq!(
        text,
        "<|user|>Hi!<|end|><|assistant|>Hello.<|end|><|user|>Bye<|end|><|assistant|>"
    );
    t.check().unwrap();
}

#[test]
fn templates_of_others_find_their_tokens_and_methods() {
    let source = "{{ bos_token }}{% for m in messages %}{% set c = m['content'].strip() %}{% if c.startswith('H') %}\
        [{{ m.role.upper() }}] {{ c.split('.')[0].replace('l', 'L') }}{{ eos_token }}{% endif %}{{ m.content }}{% endfor %}";
    let special = SpecialTokens {
        bos: Some("<s>".into()),
        eos: Some("</s>".into()),
        end: Vec::new(),
    };
    let t = ChatTemplate::new(source).unwrap().with_tokens(special);
    let text = t.render(&[user("Hello. You."), user("x")]);
    assert_eq!(text.unwrap(), "<s>[USER] HeLLo</s>Hello. You.x");
}

#[test]
fn methods_of_strings_are_pythons() {
    for (source, expected) in [
        ("{{ 'a-b-c'.split('-', 1) }}", "['a', 'b-c']"),
        ("{{ 'a-b-c'.rsplit('-', maxsplit=1) }}", "['a-b', 'c']"),
        ("{{ ' a  b c '.split(maxsplit=1) }}", "['a', 'b c ']"),
        ("{{ ' a  b '.split() }}", "['a', 'b']"),
        ("{{ 'aaa'.replace('a', 'b', 2) }}", "bba"),
        ("{{ 'aaa'.replace('a', 'b') }}", "bbb"),
        ("{{ 'xay'.strip('xy') }}", "a"),
        ("{{ 'a\\nb'.splitlines() }}", "['a', 'b']"),
        ("{{ 'ab'.startswith(('x', 'a')) }}", "True"),
        ("{{ 'äb'.find('b') }}{{ 'a'.find('z') }}", "1-1"),
        ("{{ 'some WORDS'.title() }}", "Some Words"),
        ("{{ 'pre-x'.removeprefix('pre-') }}", "x"),
        ("{{ '12'.isdigit() and 'AB'.isupper() }}", "True"),
        ("{{ ', '.join(['a', 'b']) }}", "a, b"),
        (
            "{{ none }} {{ 1.0 }} {{ true }} {{ missing }}",
            "None 1.0 True ",
        ),
        ("{{ 'a' ~ none ~ 1 ~ [none] }}", "aNone1[None]"),
        ("{{ {'b': 1, 'a': [true]} }}", "{'b': 1, 'a': [True]}"),
        (
            "{% set d = {'b': 1} %}{{ d.get('x') }}{{ d.get('x', 2) }}{{ d.items() | list }}",
            "None2[('b', 1)]",
        ),
        (
            "{% for x in [1, 2] %}{{ loop.previtem }}{{ loop.nextitem }},{% endfor %}",
            "2,1,",
        ),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
            "13",
        ),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}",
            "1",
        ),
        ("{{ tools is none }}{{ documents is none }}", "TrueTrue"),
        (
            "{{ tools is iterable }}{{ 'a' is sequence }}{{ [] is iterable }}",
            "FalseTrueTrue",
        ),
        ("{{ '{0}-{1}{{x}} {n}'.format('a', 2, n='b') }}", "a-2{x} b"),
        (
            "{{ 3 * 4 }} {{ 'ab' * 2 }} {{ [1] * 2 }} {{ 1.5 * 2 }}",
            "12 abab [1, 1] 3.0",
        ),
        (
            "{% macro m(a, b='c') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}{{ m(b=1, a=2) }}",
            "xc21",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "3",
        ),
    ] {
        assert_eq!(printed(source), expected, "{source}");
    }
}

#[test]
fn json_is_what_hugging_face_writes() {
    for (source, expected) in [
        (
            "{{ {'b': '<é>', 'a': [1, none]} | tojson }}",
            r#"{"b": "<é>", "a": [1, null]}"#,
        ),
        (
            "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}",
            r#"{"a":2,"b":1}"#,
        ),
        (
            "{{ [{'x': 1}, []] | tojson(indent=2) }}",
            "[\n  {\n    \"x\": 1\n  },\n  []\n]",
        ),
        (
            "{{ 'é\"\n' | tojson(ensure_ascii=true) }}",
            r#""\u00e9\"\n""#,
        ),
    ] {
        assert_eq!(printed(source), expected, "{source}");
    }
    let t = "{% for m in messages %}{{ m | tojson }}{% endfor %}";
    assert_eq!(
        rendered(t, &[user("Hi")]),
        r#"{"role": "user", "content": "Hi"}"#
    );
}

#[test]
fn errors_say_where_and_what() {
    assert!(ChatTemplate::new("{% for %}").is_err());
    assert!(ChatTemplate::new("{% unknown %}").is_err());
    let e = refused("{{ raise_exception('no tools') }}");
    assert_eq!(e, "chat template: it refuses the conversation: no tools");
    let e = refused("\n\n{{ messages | nofilter }}");
    assert!(e.contains(":3"), "{e}");
}

#[test]
fn endless_and_growing_templates_are_stopped() {
    let begin = std::time::Instant::now();
    for source in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | list }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=1) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.a = [{'x': ns}] %}{{ ns == ns }}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('abc') }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% set s = 'ab' * 99999999 %}{{ s }}",
        "{% set s = [1] * 99999999 %}{{ s }}",
        "{% set s = 'abc' * 999999 %}{{ [s, s, s, s] | join(s) }}",
        "{% set s = 'abc' * 999999 %}{{ s.replace('a', s) }}",
        "{% set s = 'abc' * 999999 %}{{ s | replace('a', s) }}",
        "{{ ('a\n' * 9999) | indent(99999999) }}",
        "{{ [[[1]]] | tojson(indent=999999999) }}",
        "{{ ('%F' * 999999) and strftime_now('%F' * 999999) }}",
        "{% for i in range(99999) %}0123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}",
        "{% set x %}{% for i in range(99999) %}0123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}{% endset %}",
        "{{ '%999999999d' | format(1) }}",
    ] {
        let e = refused(source);
        assert!(e.starts_with("chat template: "), "{source}: {e}");
    }
    let deep = format!("{{{{ {}true }}}}", "not ".repeat(30_000));
    assert!(refused(&deep).contains("operators"));
    assert!(begin.elapsed().as_secs() < 60);
}

#[test]
fn what_filters_and_methods_make_is_bounded() {
    let begin = std::time::Instant::now();
    for source in [
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%.999999999d' % 1 }}",
        "{{ '%.999999999f' % 1 }}",
        "{{ '%0999999999.1f' % 1 }}",
        "{{ '%999999999s' % 'a' }}",
        "{{ '%999999999c' % 'a' }}",
        "{{ ('%(a)99999d' * 99) % {'a': 1} }}",
        "{% set s = 'a' * 99999 %}{{ '%s%s%s%s%s%s%s%s%s%s%s%s' | format(s, s, s, s, s, s, s, s, s, s, s, s) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '{:é>999999999}'.format('a') }}",
        "{{ '{:0999999999,}'.format(1) }}",
        "{{ '{:.999999999f}'.format(1.5) }}",
        "{{ '{:{}}'.format('a', 999999999) }}",
        "{{ ('{0:99999}' * 99).format(1) }}",
        "{{ 'a'.center(999999999) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a'.rjust(999999999, 'é') }}",
        "{{ 'a'.zfill(999999999) }}",
        "{{ 'a'.zfill(9223372036854775807) }}",
        "{{ 'a\tb'.expandtabs(999999999) }}",
        "{{ ('a' * 9999).join(['b'] * 9999) }}",
        "{{ 'a' | center(999999999) }}",
        "{% set s = 'b' * 999999 %}{{ (s ~ s) | truncate(1, end=s, leeway=0) }}",
        "{{ ('é--' * 199999) | wordwrap(1, wrapstring='ab' * 9) }}",
        "{{ ('a ' * 9999) | wordwrap(1, wrapstring='b' * 9999) }}",
        "{{ ('/é' * 499999) | urlencode | urlencode }}",
        "{{ {'a': '<' * 999999} | xmlattr }}",
        "{{ ('<' * 999999) | e }}",
        "{{ [1] | batch(999999999, 'x') | list }}",
        "{{ [1] | batch(99999, 'x' * 9999) | list }}",
        "{{ [1] | slice(999999999) | list }}",
        "{{ [1] | slice(99, 'x' * 99999) | list }}",
        "{{ ([[1] * 999] * 999) | sum(start=[]) }}",
        "{{ ['a' * 999999] | sum(start=['a' * 999999]) }}",
        "{{ cycler('a' * 9999) }}",
        "{{ joiner('a' * 9999) }}",
        "{{ cycler(cycler('a')) }}",
        "{{ strftime_now('%999999999d') }}",
        "{{ strftime_now('%1000d' * 9999) }}",
        "{{ [1] | tojson(indent='a' * 9999) }}",
        "{{ ([1] * 9999) | tojson(separators=('a' * 9999, 'b')) }}",
    ] {
        let e = refused(source);
        let limits = ["more than", "at most", "takes texts and numbers"];
        assert!(
            limits.iter().any(|limit| e.contains(limit)),
            "{source}: {e}"
        );
    }
    assert!(begin.elapsed().as_secs() < 60);
}

#[test]
fn filters_that_are_slow_on_long_values_end() {
    let begin = std::time::Instant::now();
    let e = refused(
        "{% set l = range(99999) | list %}{{ l | select('in', l | reverse | list) | list | length }}",
    );
    assert!(e.contains("longer than"), "{e}");
    let long = "{% set s = 'a' * 99999 %}{% set b = 'b' * 99999 %}{% set set = b ~ 'a' %}{% set dashes = '-' * 99999 %}\
        {{ s.strip(set) }}{{ s | trim(set) }}{{ dashes | wordwrap(9) | length }}";
    assert_eq!(printed(long), (99_999 + 99_999 / 9 - 1).to_string());
    assert!(begin.elapsed().as_secs() < 30);
}

#[test]
fn a_conversation_as_long_as_any_context_is_no_attack() {
    let t = ChatTemplate::new(CHAT_TEMPLATE).unwrap();
    let messages: Vec<Message> = (0..2000)
        .map(|i| Message::new(["user", "assistant"][i % 2], "word ".repeat(100)))
        .collect();
    assert!(t.render(&messages).unwrap().len() > 900_000);
}

fn cut(source: &str, messages: &[Message]) -> Vec<(String, bool)> {
    let parts = ChatTemplate::new(source)
        .unwrap()
        .render_parts(messages)
        .unwrap();
    parts.into_iter().map(|p| (p.text, p.content)).collect()
}

fn parts(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected
        .iter()
        .map(|(text, content)| ((*text).to_owned(), *content))
        .collect()
}

#[test]
fn contents_are_told_from_the_templates_text() {
    let source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}";
    let messages = [
        user("user"),
        Message::new("assistant", " <|end|> "),
        user("<|"),
    ];
    assert_eq!(
        cut(source, &messages),
        parts(&[
            ("<|user|>", false),
            ("user", true),
            ("<|end|><|assistant|>", false),
            ("<|end|>", true),
            ("<|end|><|user|>", false),
            ("<|", true),
            ("<|end|>", false),
        ])
    );
    // A content that stands twice, and one that is printed nowhere.
    let source = "{{ messages[0].content }}+{{ messages[0].content }}";
    assert_eq!(
        cut(source, &[user("a")]),
        parts(&[("a", true), ("+", false), ("a", true)])
    );
}

#[test]
fn contents_are_found_where_the_template_looks_at_them() {
    // As reasoning models' templates: what the assistant thought is left out.
    let source = "{% for m in messages %}<|{{ m.role }}|>{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip() }}\
        {% elif m.content == 'magic' %}!{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let messages = [
        user("user"),
        Message::new("assistant", "<think>x</think> <|user|>"),
        user("magic"),
        user("end"),
    ];
    assert_eq!(
        cut(source, &messages),
        parts(&[
            ("<|user|>", false),
            ("user", true),
            ("<|assistant|>", false),
            ("<|user|>", true),
            ("<|user|>!<|user|>", false),
            ("end", true),
        ])
    );
}

#[test]
fn a_system_message_that_is_refused_goes_before_the_users() {
    let refuses = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}[{{ m.content }}]{% endfor %}";
    let ignores = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}";
    for source in [refuses, ignores] {
        let messages = [Message::new("system", "Be kind."), user("Hi")];
        assert_eq!(rendered(source, &messages), "[Be kind.\n\nHi]");
    }
    let takes = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}";
    let messages = [Message::new("system", "Be kind."), user("Hi")];
    assert_eq!(rendered(takes, &messages), "[system: Be kind.][user: Hi]");
}

#[test]
fn a_template_may_need_a_system_message() {
    let needs = "{% if messages[0].role != 'system' %}{{ raise_exception('say who you are') }}{% endif %}\
        {% for m in messages %}[{{ m.content }}]{% endfor %}";
    let check = |source| ChatTemplate::new(source).unwrap().check();
    assert!(check(needs).unwrap().needs_system);
    // Not every template that needs one says so.
    assert!(
        check("{{ messages[0].content if messages[0].role == 'system' else nothing.at.all }}{{ messages | map(attribute='content') | join }}")
            .unwrap()
            .needs_system
    );
    let takes = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
    assert!(!check(takes).unwrap().needs_system);
    let e = check("{{ raise_exception('never') }}")
        .unwrap_err()
        .to_string();
    assert_eq!(e, "chat template: it refuses the conversation: never");
}

#[test]
fn odd_values_are_errors_not_panics() {
    let values = [
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "170141183460469231731687303715884105727",
        "1e308",
        "-0.0",
        "''",
        "'é'",
        "'%'",
        "'%d{}'",
        "[]",
        "[[]]",
        "()",
        "{}",
        "{'a': 1}",
        "none",
        "missing",
        "true",
        "range(3)",
        "messages",
        "namespace()",
        "cycler('a')",
        "joiner()",
    ];
    let arguments = [
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "'é'",
        "[]",
        "(1, 2)",
        "{'a': 1}",
        "none",
        "missing",
    ];
    let operators = [
        "+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and",
    ];
    let filters = [
        "abs",
        "attr('a')",
        "batch",
        "batch(X)",
        "batch(2, X)",
        "bool",
        "capitalize",
        "center",
        "center(X)",
        "default(X)",
        "dictsort",
        "dictsort(X)",
        "e",
        "escape",
        "filesizeformat",
        "first",
        "float",
        "float(X)",
        "forceescape",
        "format",
        "format(X)",
        "groupby(X)",
        "groupby('a')",
        "indent",
        "indent(X)",
        "int",
        "int(X)",
        "int(0, X)",
        "items",
        "join",
        "join(X)",
        "last",
        "length",
        "lines",
        "list",
        "lower",
        "map(X)",
        "map(attribute=X)",
        "max",
        "min",
        "reject",
        "rejectattr(X)",
        "replace(X, X)",
        "replace('', X)",
        "reverse",
        "round",
        "round(X)",
        "round(X, 'floor')",
        "safe",
        "select",
        "selectattr('a', 'eq', X)",
        "slice",
        "slice(X)",
        "sort",
        "sort(attribute=X)",
        "split",
        "split(X)",
        "string",
        "sum",
        "sum(start=X)",
        "title",
        "tojson",
        "tojson(indent=X)",
        "tojson(separators=X)",
        "trim",
        "trim(X)",
        "truncate",
        "truncate(X)",
        "truncate(5, false, X, 0)",
        "unique",
        "upper",
        "urlencode",
        "wordcount",
        "wordwrap",
        "wordwrap(X)",
        "wordwrap(3, true, X)",
        "xmlattr",
    ];
    let methods = [
        "capitalize()",
        "casefold()",
        "center(X)",
        "count(X)",
        "endswith(X)",
        "expandtabs(X)",
        "find(X)",
        "find('', X, X)",
        "format(X)",
        "get(X)",
        "index(X)",
        "items()",
        "join(X)",
        "keys()",
        "ljust(X)",
        "lstrip(X)",
        "partition(X)",
        "removeprefix(X)",
        "replace(X, X)",
        "replace('', '-', X)",
        "rfind('', X)",
        "rindex(X)",
        "rjust(X)",
        "rpartition(X)",
        "rsplit(X)",
        "rsplit(none, X)",
        "rstrip(X)",
        "split(X)",
        "split(none, X)",
        "splitlines(X)",
        "startswith('', X)",
        "strip(X)",
        "swapcase()",
        "title()",
        "upper()",
        "values()",
        "zfill(X)",
        "isdigit()",
        "istitle()",
        "next()",
        "nothing()",
    ];
    let mut sources = Vec::new();
    for a in values {
        for b in arguments {
            sources.extend(operators.map(|op| format!("{{{{ {a} {op} {b} }}}}")));
            sources.extend(filters.map(|f| format!("{{{{ {a} | {} }}}}", f.replace('X', b))));
            sources.extend(methods.map(|m| format!("{{{{ ({a}).{} }}}}", m.replace('X', b))));
            sources.push(format!("{{{{ ({a})[{b}] }}}}{{{{ ({a})[{b}:] }}}}"));
            sources.push(format!("{{{{ ({a})[:{b}:-1] }}}}{{{{ ({a})[::{b}] }}}}"));
            sources.push(format!("{{{{ range({a}, 5, {b}) | list | length }}}}"));
        }
    }
    let manner = Manner {
        as_parts: false,
        prompt: true,
        now: Now::read(),
    };
    for source in sources {
        let run = || ChatTemplate::new(&source).and_then(|t| t.run(&[user("Hi")], manner));
        assert!(std::panic::catch_unwind(run).is_ok(), "{source}");
    }
}

#[test]
fn contents_are_given_as_parts_where_texts_do_not_come_out() {
    let source = "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %};{% endfor %}";
    assert_eq!(
        cut(source, &[user("HELLO")]),
        parts(&[("HELLO", true), (";", false)])
    );
    assert!(refused("{{ 'nothing of it' }}").contains("leaves out"));
}

#[test]
fn today_is_the_same_in_every_rendering() {
    let source =
        "{{ strftime_now('%Y-%m-%d') }}|{% for m in messages %}{{ m.content }}{% endfor %}";
    let text = rendered(source, &[user("Hi")]);
    let (date, rest) = text.split_once('|').unwrap();
    assert_eq!((date.len(), rest), (10, "Hi"));
}

/// What Jinja gives for a template, as `tests/expected.py` wrote it down.
fn expected() -> serde_json::Value {
    serde_json::from_str(include_str!("tests/expected.json")).unwrap()
}

fn messages(table: &serde_json::Value, name: &str) -> Vec<Message> {
    let turns = table["conversations"][name].as_array().unwrap();
    let text = |turn: &serde_json::Value, key: &str| turn[key].as_str().unwrap().to_owned();
    turns
        .iter()
        .map(|turn| Message::new(&text(turn, "role"), text(turn, "content")))
        .collect()
}

/// A difference between what `source` gives and what Jinja gives.
fn difference(source: &str, messages: &[Message], expected: Option<&str>) -> Option<String> {
    let special = SpecialTokens {
        bos: Some("<s>".into()),
        eos: Some("</s>".into()),
        end: Vec::new(),
    };
    let manner = Manner {
        as_parts: false,
        prompt: true,
        // 2024-02-29 13:05:09.
        now: Now {
            local: 1_709_211_909,
            offset: 0,
            microseconds: 0,
        },
    };
    let text = ChatTemplate::new(source).and_then(|t| t.with_tokens(special).run(messages, manner));
    (text.as_deref().ok() != expected)
        .then(|| format!("{source}\n  jinja: {expected:?}\n  here:  {text:?}"))
}

#[test]
fn expressions_are_jinjas() {
    let table = expected();
    let turns = messages(&table, "turns");
    let snippets = table["snippets"].as_array().unwrap();
    let differences: Vec<String> = snippets
        .iter()
        .filter_map(|case| {
            difference(
                case["source"].as_str().unwrap(),
                &turns,
                case["expected"].as_str(),
            )
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(snippets.len() > 150);
}

#[test]
fn templates_written_like_published_ones_give_what_jinja_gives() {
    let table = expected();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tokenizer/template/tests/");
    let templates = table["templates"].as_array().unwrap();
    let differences: Vec<String> = templates
        .iter()
        .filter_map(|case| {
            let source =
                std::fs::read_to_string(format!("{folder}{}", case["file"].as_str().unwrap()));
            let messages = messages(&table, case["conversation"].as_str().unwrap());
            difference(&source.unwrap(), &messages, case["expected"].as_str())
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(templates.len() > 40);
}

#[test]
fn people_find_the_same_template_beside_the_configurations() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../config/chat_template.jinja"
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), CHAT_TEMPLATE);
}
