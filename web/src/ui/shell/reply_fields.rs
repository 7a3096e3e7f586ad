//! What replies have to be, and functions that they may call.

use leptos::prelude::*;

use crate::ui::chat::{EXAMPLE_TOOLS, ReplyForm, check_schema, read_tools, use_chat};
use crate::ui::page::{Mode, use_page};
use crate::ui::widgets::erased::{When, on_click};

/// What a reader who asks for a schema begins with.
const FIRST_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "name": { "type": "string" },
    "age": { "type": "integer" }
  },
  "required": ["name", "age"]
}"#;

/// What replies have to be.
#[component]
pub fn ReplyFormField() -> impl IntoView {
    let settings = use_chat().settings;
    let kind = Memo::new(move |_| {
        settings.with(|settings| match settings.form {
            ReplyForm::Free => "free",
            ReplyForm::JsonObject => "object",
            ReplyForm::JsonSchema(_) => "schema",
        })
    });
    let set = move |form| settings.update(|settings| settings.form = form);
    let schema = Memo::new(
        move |_| match settings.with(|settings| settings.form.clone()) {
            ReplyForm::JsonSchema(schema) => schema,
            _ => String::new(),
        },
    );
    view! {
        <div class="field">
            <label for="reply-form">"Replies are"</label>
            <select
                id="reply-form"
                prop:value=kind
                on:change:target=move |event| {
                    set(match event.target().value().as_str() {
                        "object" => ReplyForm::JsonObject,
                        "schema" => ReplyForm::JsonSchema(FIRST_SCHEMA.to_owned()),
                        _ => ReplyForm::Free,
                    });
                }
            >
                <option value="free">"any text"</option>
                <option value="object">"a JSON object"</option>
                <option value="schema">"JSON that fits a schema"</option>
            </select>
        </div>
        <When when=Signal::derive(move || kind.get() == "schema")>
            <JsonField
                id="schema"
                label="JSON schema"
                hint="Every reply will match it."
                used=schema
                check=check_schema
                on_change=move |text| set(ReplyForm::JsonSchema(text))
            />
        </When>
    }
}

/// Functions that the model may call.
#[component]
pub fn ToolsField() -> impl IntoView {
    let (page, settings) = (use_page(), use_chat().settings);
    let used = Memo::new(move |_| settings.with(|settings| settings.tools.clone()));
    let set = move |text| settings.update(|settings| settings.tools = text);
    view! {
        <When when=Signal::derive(move || page.mode.get() == Mode::Chat)>
            <JsonField
                id="tools"
                label="Functions the model may call"
                hint="A JSON list of names, descriptions and parameters. When the model calls one, you fill in its result."
                used
                check=|text| read_tools(text).map(drop)
                on_change=set
            />
            <When when=Signal::derive(move || used.with(String::is_empty))>
                <button type="button" class="quiet" id="example-tools" on:click=on_click(move || set(EXAMPLE_TOOLS.to_owned()))>
                    "Try an example"
                </button>
            </When>
        </When>
    }
}

/// A field for JSON. What can't be read is not used; it stays in the field, with what is wrong
/// below it, until it can be or something else is used.
#[component]
fn JsonField(
    id: &'static str,
    label: &'static str,
    hint: &'static str,
    used: Memo<String>,
    check: fn(&str) -> Result<(), String>,
    on_change: impl Fn(String) + Copy + Send + 'static,
) -> impl IntoView {
    let unreadable = RwSignal::new(None::<String>);
    Effect::new(move |_| {
        used.track();
        unreadable.set(None);
    });
    let text = Memo::new(move |_| unreadable.get().unwrap_or_else(|| used.get()));
    let problem = Memo::new(move |_| check(&unreadable.get()?).err());
    let below = format!("{id}-problem");
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <textarea
                id=id
                class="code"
                rows="5"
                spellcheck="false"
                aria-describedby=below.clone()
                prop:value=text
                on:input:target=move |event| {
                    let typed = event.target().value();
                    match check(&typed) {
                        Ok(()) => {
                            unreadable.set(None);
                            on_change(typed);
                        }
                        Err(_) => unreadable.set(Some(typed)),
                    }
                }
            ></textarea>
            <p class="hint" class:wrong=Signal::derive(move || problem.with(Option::is_some)) id=below role="status">
                {move || problem.get().map_or_else(|| hint.to_owned(), |problem| format!("Not used: {problem}."))}
            </p>
        </div>
    }
}
