//! Getting a model from the hub: asking the reader first, finding its files, importing them.

use leptos::prelude::*;
use ternary::hub::Repository;

use super::{Models, use_models};
use crate::protocol::{Choices, Files, Found, KeptModel, Request, Source, Task};
use crate::ui::page::Step;
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::storage::storage;

/// Set in the browser's storage once the reader has allowed it, to the hub's address.
const ALLOWED: &str = "ternary-core.hub";
/// Beginnings of what is meant for the hub, whatever follows.
const OF_HUB: [&str; 5] = [
    "hf:",
    "huggingface.co/",
    "hf.co/",
    "https://huggingface.co/",
    "https://hf.co/",
];

/// A model that the reader asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub repository: Repository,
    /// As it was described; `None`: it is called after its file.
    pub title: Option<String>,
    /// What it is to become; `None`: the reader is asked once it is known what it is.
    pub choices: Option<Choices>,
    /// The kept model that it is to finish.
    pub finishes: Option<String>,
}

impl Wanted {
    /// For people to read.
    fn name(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.repository.repo)
    }
}

impl Models {
    /// Gets what stands at an address: of the hub, or of this site.
    pub fn get_address(self, address: &str) {
        let of_hub = OF_HUB.iter().any(|start| address.starts_with(start));
        let of_site = address.contains("://")
            || address.starts_with(['/', '.'])
            || address.ends_with(".1bit")
            || !address.contains('/')
            || self.hub().is_none();
        if !of_hub && of_site {
            return self.load(Source::Url(address.to_owned()));
        }
        self.get(address, None);
    }

    /// Gets a model of the hub. One with a name was described, and comes without another question.
    pub fn get(self, repository: &str, name: Option<String>) {
        let repository = match Repository::parse(repository) {
            Ok(repository) => repository,
            Err(problem) => {
                return self
                    .page
                    .fail("This is no address of a model", format!("{problem}."));
            }
        };
        self.want(Wanted {
            choices: name.is_some().then(Choices::default),
            title: name,
            repository,
            finishes: None,
        });
    }

    /// Goes on with an import that did not end.
    pub(super) fn finish(self, kept: &KeptModel) {
        if let Some(unfinished) = kept.unfinished.clone() {
            self.want(Wanted {
                repository: unfinished.repository,
                title: unfinished.title,
                choices: Some(unfinished.choices),
                finishes: Some(kept.id.clone()),
            });
        }
    }

    fn want(self, wanted: Wanted) {
        self.page.notice.set(None);
        self.page.panel_open.set(false);
        match self.hub() {
            None => self.page.offer(
                "This page asks no other site for models",
                format!(
                    "{} is on the hub. Download its files there and drop them here.",
                    wanted.repository.repo
                ),
                [Step::ChooseFile],
            ),
            Some(hub) if is_allowed(&hub) => self.find(hub, wanted),
            Some(_) => self.wanted_of_hub.set(Some(wanted)),
        }
    }

    /// Gets what could not be had before.
    pub(super) fn get_again(self, wanted: Wanted) {
        if let Some(hub) = self.hub() {
            self.find(hub, wanted);
        }
    }

    fn hub(self) -> Option<String> {
        let hub = |all: &Option<super::Catalogue>| all.as_ref().and_then(|all| all.hub.clone());
        self.catalogue.with_untracked(hub)
    }

    fn allow_hub(self) {
        let wanted = self.wanted_of_hub.try_update(Option::take).flatten();
        if let (Some(hub), Some(wanted)) = (self.hub(), wanted) {
            if let Some(storage) = storage() {
                // Without it the question comes again at the next visit.
                storage.set_item(ALLOWED, &hub).ok();
            }
            self.find(hub, wanted);
        }
    }

    fn find(self, hub: String, wanted: Wanted) {
        let files = Files {
            name: wanted.name().to_owned(),
            title: None,
            files: Vec::new(),
            remote: Vec::new(),
            repository: Some(wanted.repository.clone()),
        };
        let repository = wanted.repository.clone();
        if self.begin_import(files, Some(wanted)) {
            self.ask_importer(Request::Task(Task::Find { hub, repository }));
        }
    }

    /// Looks at another file of the repository that was found.
    pub(super) fn take_file(self, path: String) {
        let Some((hub, mut wanted)) = self.hub().zip(self.importer.wanted.get_value()) else {
            return;
        };
        wanted.repository.file = Some(path);
        self.find(hub, wanted);
    }

    pub(super) fn on_found(self, mut found: Found) {
        let i = self.importer;
        let wanted = i.wanted.get_value();
        if let Some(title) = wanted.as_ref().and_then(|wanted| wanted.title.clone()) {
            // As it was described, not after one of its files.
            found.files.name.clone_from(&title);
            found.files.title = Some(title);
        }
        i.found.set(Some(found.clone()));
        i.files.set(Some(found.files.clone()));
        match wanted.and_then(|wanted| wanted.choices) {
            Some(choices) => {
                i.choices.set(choices);
                self.start_import();
            }
            None => drop(self.ask_importer(Request::Task(Task::Survey(found.files)))),
        }
    }
}

fn is_allowed(hub: &str) -> bool {
    let allowed = storage().and_then(|storage| storage.get_item(ALLOWED).ok().flatten());
    allowed.as_deref() == Some(hub)
}

/// The question before the first request to another site.
#[component]
pub fn HubQuestion() -> impl IntoView {
    let models = use_models();
    let question = move |name: String| {
        let hub = models.hub().unwrap_or_default();
        let site = hub.rsplit("://").next().unwrap_or(&hub).to_owned();
        view! {
            <section class="import" id="hub-question" aria-labelledby="hub-title">
                <h2 id="hub-title" role="status">{format!("Get {name} from {site}?")}</h2>
                <p>
                    {format!(
                        "So far this page has asked no other site for anything. {site} will see your IP address and which model you download. \
                         What you write is never sent anywhere."
                    )}
                </p>
                <div class="row">
                    <button type="button" class="primary" id="allow-hub" on:click=on_click(move || models.allow_hub())>
                        "Allow and download"
                    </button>
                    <button type="button" id="refuse-hub" on:click=on_click(move || models.wanted_of_hub.set(None))>
                        "Not now"
                    </button>
                </div>
            </section>
        }
    };
    live(move || {
        let wanted = models.wanted_of_hub.get();
        wanted
            .map(|wanted| question(wanted.name().to_owned()))
            .into_any()
    })
}
