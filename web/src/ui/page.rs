//! What is shown of the page, what it tells the reader, and where the keyboard goes.

use std::rc::Rc;

use leptos::prelude::*;

use super::widgets::files;

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// The prompt, in the present [`Mode`].
    Chat,
    Text,
    Map,
    Tune,
    /// Which models there are.
    Models,
}

/// What the prompt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Turns, through the model's chat template.
    Chat,
    /// Plain continuation; each stands alone.
    Text,
}

/// What can be done about a failure, with one click.
#[derive(Clone)]
pub enum Step {
    /// Does it, once the notice is gone.
    Act {
        id: &'static str,
        label: &'static str,
        act: Rc<dyn Fn()>,
    },
    /// Opens the file picker; what is chosen goes where its kind belongs.
    ChooseFile,
}

impl Step {
    pub fn new(id: &'static str, label: &'static str, act: impl Fn() + 'static) -> Self {
        let act = Rc::new(act);
        Self::Act { id, label, act }
    }

    /// Does what failed once more.
    pub fn again(act: impl Fn() + 'static) -> Self {
        Self::new("again", "Try again", act)
    }
}

/// What the reader is told, until it is dismissed or something newer is told.
#[derive(Clone)]
pub struct Notice {
    pub title: String,
    pub detail: String,
    /// Something went wrong; otherwise it is only good to know.
    pub failure: bool,
    /// The engine is gone and must be started again.
    pub engine_died: bool,
    /// What can be done about it, the likeliest first.
    pub steps: Vec<Step>,
}

/// The page: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Page {
    pub tab: RwSignal<Tab>,
    pub mode: RwSignal<Mode>,
    pub panel_open: RwSignal<bool>,
    /// The list of conversations, where there is no room to have it always.
    pub chats_open: RwSignal<bool>,
    pub notice: RwSignal<Option<Notice>, LocalStorage>,
    /// Raised when the prompt should have the keyboard.
    pub focus_prompt: Trigger,
    /// The reader went somewhere: back leads to where that was.
    moved: StoredValue<bool>,
}

pub fn use_page() -> Page {
    expect_context()
}

impl Page {
    pub fn new() -> Self {
        Self {
            tab: RwSignal::new(Tab::Chat),
            mode: RwSignal::new(Mode::Chat),
            panel_open: RwSignal::new(false),
            chats_open: RwSignal::new(false),
            notice: RwSignal::new_local(None),
            focus_prompt: Trigger::new(),
            moved: StoredValue::new(false),
        }
    }

    /// Shows a part of the page.
    pub fn show(self, tab: Tab) {
        match tab {
            Tab::Chat => self.mode.set(Mode::Chat),
            Tab::Text => self.mode.set(Mode::Text),
            Tab::Map | Tab::Tune | Tab::Models => {}
        }
        self.tab.set(tab);
        self.set_moved(true);
    }

    /// What the prompt is for from now on; other parts of the page stay shown.
    pub fn set_mode(self, mode: Mode) {
        self.mode.set(mode);
        if matches!(self.tab.get_untracked(), Tab::Chat | Tab::Text) {
            self.tab.set(match mode {
                Mode::Chat => Tab::Chat,
                Mode::Text => Tab::Text,
            });
        }
    }

    /// Whether the reader went somewhere since this was last asked.
    pub fn take_moved(self) -> bool {
        let moved = self.moved.get_value();
        self.set_moved(false);
        moved
    }

    pub fn set_moved(self, moved: bool) {
        self.moved.set_value(moved);
    }

    /// Tells of a failure that nothing on a button helps with.
    pub fn fail(self, title: &str, detail: String) {
        self.notify(title, detail, |_| {});
    }

    /// Tells what is no failure.
    pub fn inform(self, title: &str, detail: String) {
        self.notify(title, detail, |notice| notice.failure = false);
    }

    /// Tells of a failure, and offers what can be done about it.
    pub fn offer(self, title: &str, detail: String, steps: impl Into<Vec<Step>>) {
        self.notify(title, detail, |notice| notice.steps = steps.into());
    }

    /// Leads to where models are chosen.
    pub fn to_models(self) -> Step {
        Step::new("to-models", "Choose a model", move || {
            self.show(Tab::Models)
        })
    }

    pub fn engine_died(self, detail: String) {
        self.notify("The engine stopped", detail, |notice| {
            notice.engine_died = true;
        });
    }

    fn notify(self, title: &str, detail: String, more: impl FnOnce(&mut Notice)) {
        let mut notice = Notice {
            title: title.to_owned(),
            detail,
            failure: true,
            engine_died: false,
            steps: Vec::new(),
        };
        more(&mut notice);
        self.notice.set(Some(notice));
    }

    pub fn dismiss_notice(self) {
        self.notice.set(None);
        self.focus_prompt.notify();
    }

    /// Hands a file to the reader as a download.
    pub fn save_file(self, name: &str, bytes: &[u8]) {
        if let Err(problem) = files::save(name, bytes) {
            self.fail("The file could not be saved", problem);
        }
    }
}
