"""What Jinja makes of templates, set up as transformers sets it up: writes `expected.json` beside itself.

    pip install jinja2==3.1.6
    TZ=UTC python expected.py

It also writes `weeks.txt`, days since 1970 and how Python counts their weeks.

Every case is a template, the conversation it gets and the text it gives, or null where Jinja refuses it. `snippets.txt` has one
template a line (`\\n` is a line break there), `*.jinja` are whole ones, each tried on every conversation.
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2024, 2, 29, 13, 5, 9)

CONVERSATIONS = {
    "none": [],
    "user": [("user", "Hi")],
    "turns": [("user", " Hi! "), ("assistant", "<think>\nhm\n</think>\n\nHello."), ("user", "Bye\nnow")],
    "system": [("system", "Be kind."), ("user", "Hi"), ("assistant", "Yes."), ("user", "Who's “there”?")],
}


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, which marks what a model is trained on and prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
)
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda form: NOW.strftime(form)


def render(source, conversation):
    messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[conversation]]
    try:
        return env.from_string(source).render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=True,
            bos_token="<s>",
            eos_token="</s>",
        )
    except Exception:
        return None


def main():
    snippets = []
    for line in (HERE / "snippets.txt").read_text().splitlines():
        if line and not line.startswith("#: "):
            source = line.replace("\\n", "\n")
            snippets.append({"source": source, "expected": render(source, "turns")})
    templates = []
    for path in sorted(HERE.glob("*.jinja")):
        for name in CONVERSATIONS:
            expected = render(path.read_text(), name)
            templates.append({"file": path.name, "conversation": name, "expected": expected})
    table = {
        "conversations": {
            name: [{"role": role, "content": content} for role, content in turns]
            for name, turns in CONVERSATIONS.items()
        },
        "snippets": snippets,
        "templates": templates,
    }
    epoch = datetime.date(1970, 1, 1)
    years = (1970, 1999, 2004, 2005, 2008, 2009, 2010, 2012, 2015, 2016, 2020, 2021, 2023, 2024, 2026, 2027, 2032, 2100)
    days = [datetime.date(y, m, d) for y in years for m, d in ((1, 1), (1, 3), (1, 4), (12, 28), (12, 31))]
    weeks = [f"{(day - epoch).days} {day:%F %U %W %V %G %g %u %w}\n" for day in days]
    (HERE / "weeks.txt").write_text("".join(weeks))
    text = json.dumps(table, indent=1, ensure_ascii=False)
    (HERE / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
