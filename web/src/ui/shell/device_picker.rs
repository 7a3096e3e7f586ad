//! Where the model runs, and why there.

use leptos::prelude::*;
use ternary::session::{DeviceChoice, DeviceKind};

use crate::js;
use crate::ui::engine::use_engine;
use crate::ui::models::use_models;
use crate::ui::widgets::figures;
use crate::ui::widgets::segmented::{Choice, Segmented};

/// Why the CPU has one thread only, where it could have more.
fn one_thread() -> Option<&'static str> {
    let page = window();
    if js::field(&page, "crossOriginIsolated") == true {
        return None;
    }
    if page.navigator().hardware_concurrency() < 2.0 {
        return None;
    }
    // The page's service worker asks for threads where its server does not: once it is there.
    let visits = page
        .performance()
        .map(|clock| clock.get_entries_by_type("navigation"));
    let started = visits.map(|visits| js::field(&visits.get(0), "workerStart"));
    let served = started
        .and_then(|time| time.as_f64())
        .is_some_and(|time| time > 0.0);
    let can_be_served = !js::field(&page.navigator(), "serviceWorker").is_undefined();
    Some(match (can_be_served, served) {
        (true, false) => "Reload the page once, and the model may use more of the processor.",
        (true, true) => "This browser gives the page one thread only.",
        (false, _) => "The site does not let this page use more than one thread.",
    })
}

#[component]
pub fn DevicePicker() -> impl IntoView {
    let (engine, models) = (use_engine(), use_models());
    let devices = || {
        [
            Choice::new(DeviceChoice::Auto, "auto", "Automatic"),
            Choice::new(DeviceChoice::Cpu, "cpu", "CPU"),
            Choice::new(DeviceChoice::Gpu, "gpu", "GPU"),
        ]
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
                {(model.device.kind == DeviceKind::Cpu).then(one_thread).flatten().map(|why| view! { <p class="hint">{why}</p> })}
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
                selected=models.device
                on_select=move |device| models.change_device(device)
            />
            {running_on}
        </section>
    }
}
