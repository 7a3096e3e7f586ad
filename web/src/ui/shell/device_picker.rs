//! Where the model runs, and why there.

use leptos::prelude::*;
use leptos::task::spawn_local;
use ternary::session::{DeviceChoice, DeviceInfo, DeviceKind};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;

use crate::js;
use crate::ui::engine::use_engine;
use crate::ui::models::{server, use_models};
use crate::ui::widgets::erased::{When, live};
use crate::ui::widgets::figures;
use crate::ui::widgets::segmented::{Choice, Segmented};

/// Why the CPU has one thread only, where it could have more. `kept`: a service worker keeps the
/// page.
fn one_thread(kept: bool) -> Option<&'static str> {
    let page = window();
    if js::field(&page, "crossOriginIsolated") == true
        || page.navigator().hardware_concurrency() < 2.0
    {
        return None;
    }
    // The service worker isolates the page where its server does not, but not within another page.
    let visits = page
        .performance()
        .map(|clock| clock.get_entries_by_type("navigation"));
    let started = visits.map(|visits| js::field(&visits.get(0), "workerStart"));
    let served = started
        .and_then(|time| time.as_f64())
        .is_some_and(|time| time > 0.0);
    let alone = js::field(&page, "top") == js::field(&page, "self");
    let can_be_kept = !js::field(&page.navigator(), "serviceWorker").is_undefined();
    match (can_be_kept && alone, kept) {
        (false, _) => Some("The site does not let this page use more than one thread."),
        (true, false) => None,
        (true, true) if served => Some("This browser gives the page only one thread."),
        (true, true) => Some("Reload the page once to let the model use more of the processor."),
    }
}

/// Whether a service worker keeps the page: as soon as one does.
fn is_kept() -> RwSignal<bool> {
    let kept = RwSignal::new(false);
    let keepers = js::field(&window().navigator(), "serviceWorker");
    if let Ok(ready) = js::field(&keepers, "ready").dyn_into::<js_sys::Promise>() {
        spawn_local(async move {
            if JsFuture::from(ready).await.is_ok() {
                kept.try_set(true);
            }
        });
    }
    kept
}

/// Where a model may run.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Here(DeviceChoice),
    Server,
}

/// Which of the server's models answers, and the key of a server that does not answer everybody.
#[component]
fn ServerFields() -> impl IntoView {
    let (engine, models) = (use_engine(), use_models());
    let several =
        Signal::derive(move || models.is_served() && models.served.with(|all| all.len() > 1));
    let option = |name: String| view! { <option value=name.clone()>{name.clone()}</option> };
    view! {
        <When when=several>
            <div class="field">
                <label for="server-model">"Model on the server"</label>
                <select
                    id="server-model"
                    prop:value=Signal::derive(move || engine.model.with(|model| model.as_ref().map(|model| model.name.clone())))
                    on:change:target=move |event| models.load(server::model(event.target().value()))
                >
                    {live(move || models.served.get().into_iter().map(option).collect_view().into_any())}
                </select>
            </div>
        </When>
        <div class="field">
            <label for="server-key">"Server key"</label>
            <input
                type="password"
                id="server-key"
                autocomplete="off"
                placeholder="only if the server asks for one"
                prop:value=models.server_key
                on:change:target=move |event| models.use_key(event.target().value().trim())
            />
        </div>
    }
}

#[component]
pub fn DevicePicker() -> impl IntoView {
    let (engine, models) = (use_engine(), use_models());
    let kept = is_kept();
    let devices = || {
        let here = [
            Choice::new(Place::Here(DeviceChoice::Auto), "auto", "Automatic"),
            Choice::new(Place::Here(DeviceChoice::Cpu), "cpu", "CPU"),
            Choice::new(Place::Here(DeviceChoice::Gpu), "gpu", "GPU"),
        ];
        let server = Choice::new(Place::Server, "server", "Server");
        here.into_iter().chain(server::answers().then_some(server))
    };
    let place = RwSignal::new(Place::Here(models.device.get_untracked()));
    Effect::new(move |_| {
        place.set(match models.is_served() {
            true => Place::Server,
            false => Place::Here(models.device.get()),
        });
    });
    let choose = move |chosen| match chosen {
        Place::Here(device) => models.change_device(device),
        Place::Server => models.load(server::model(String::new())),
    };
    let why_one_thread = move |device: &DeviceInfo| {
        let wanted = device.kind == DeviceKind::Cpu && models.threads != 1;
        wanted.then(|| one_thread(kept.get())).flatten()
    };
    let running_on = move || {
        engine.model.with(|model| {
            let model = model.as_ref()?;
            let kind = figures::device_kind(&model.device);
            let software = if model.device.software {
                ", in software"
            } else {
                ""
            };
            Some(view! {
                <p class="device" data-kind=model.device.kind.to_string()>
                    <strong>{kind}</strong>" "{model.device.name.clone()}{software}
                </p>
                <p class="hint">{figures::sentence(&model.device_reason)}</p>
                {why_one_thread(&model.device).map(|why| view! { <p class="hint">{why}</p> })}
            })
        })
    };
    view! {
        <section aria-labelledby="device-title">
            <h2 id="device-title">"Device"</h2>
            <Segmented
                legend="Where the model runs"
                name="device"
                choices=devices
                selected=place
                on_select=choose
            />
            {server::answers().then(|| view! { <ServerFields /> })}
            {running_on}
        </section>
    }
}
