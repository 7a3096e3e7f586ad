//! Where the model runs, and why there.

use leptos::prelude::*;
use ternary::session::DeviceChoice;

use crate::ui::engine::use_engine;
use crate::ui::models::use_models;
use crate::ui::widgets::figures;
use crate::ui::widgets::segmented::{Choice, Segmented};

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
