//! What is shown of the page, what it tells the reader, and where the keyboard goes.

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

/// What the reader is told, until it is dismissed or something newer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub title: String,
    pub detail: String,
    /// Something went wrong; otherwise it is only good to know.
    pub failure: bool,
    /// The engine is gone and must be started again.
    pub engine_died: bool,
    /// Says on a button that the load that failed can be tried again.
    pub again: Option<&'static str>,
}

/// The page: a handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Page {
    pub tab: RwSignal<Tab>,
    pub mode: RwSignal<Mode>,
    pub panel_open: RwSignal<bool>,
    /// The list of conversations, where there is no room to have it always.
    pub chats_open: RwSignal<bool>,
    pub notice: RwSignal<Option<Notice>>,
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
            notice: RwSignal::new(None),
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

    /// Tells of a failure.
    pub fn fail(self, title: &str, detail: String) {
        self.notify(title, detail, |_| {});
    }

    /// Tells what is no failure.
    pub fn inform(self, title: &str, detail: String) {
        self.notify(title, detail, |notice| notice.failure = false);
    }

    /// Tells of a failed load, and offers another attempt on a button.
    pub fn offer_again(self, title: &str, detail: String, again: &'static str) {
        self.notify(title, detail, |notice| notice.again = Some(again));
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
            again: None,
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
