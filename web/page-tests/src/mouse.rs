//! The mouse, pens, fingers, and keys with others held.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::Page;

/// What DevTools calls Shift.
const SHIFT: u32 = 8;

impl Page {
    /// Puts the pointer over the middle of `selector`'s first element.
    pub fn hover(&self, selector: &str) -> Result<()> {
        let (x, y) = self.middle_of(selector)?;
        self.mouse("mouseMoved", (x, y), 0)
    }

    /// Puts the pointer at this part of the way from the element's left to its right, and from its
    /// top to its bottom.
    pub fn hover_at(&self, selector: &str, across: f64, down: f64) -> Result<()> {
        let (x, y) = self.middle_of(selector)?;
        let size = self.evaluate(&format!(
            "(() => {{ const r = document.querySelector({}).getBoundingClientRect(); return [r.width, r.height]; }})()",
            json!(selector)
        ))?;
        let at = |middle: f64, size: &serde_json::Value, part: f64| {
            middle + size.as_f64().unwrap_or_default() * (part - 0.5)
        };
        let place = (at(x, &size[0], across), at(y, &size[1], down));
        self.mouse("mouseMoved", place, 0)
    }

    /// Drags from the middle of one element to that of another.
    pub fn drag_between(&self, from: &str, to: &str) -> Result<()> {
        self.drag_with("mouse", from, to, Duration::ZERO)
    }

    /// Puts a pen on one element, rests for a while, and moves it to another.
    pub fn pen_drag(&self, from: &str, to: &str, rest: Duration) -> Result<()> {
        self.drag_with("pen", from, to, rest)
    }

    fn drag_with(&self, device: &str, from: &str, to: &str, rest: Duration) -> Result<()> {
        let (from, to) = (self.middle_of(from)?, self.middle_of(to)?);
        self.pointer(device, "mouseMoved", from, 0)?;
        self.pointer(device, "mousePressed", from, 1)?;
        sleep(rest);
        for step in 1..=8 {
            let part = f64::from(step) / 8.0;
            let between = |from: f64, to: f64| from + (to - from) * part;
            let place = (between(from.0, to.0), between(from.1, to.1));
            self.pointer(device, "mouseMoved", place, 1)?;
        }
        self.pointer(device, "mouseReleased", to, 0)
    }

    fn mouse(&self, kind: &str, place: (f64, f64), buttons: u32) -> Result<()> {
        self.pointer("mouse", kind, place, buttons)
    }

    fn pointer(&self, device: &str, kind: &str, (x, y): (f64, f64), buttons: u32) -> Result<()> {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({
            "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1,
            "pointerType": device,
        });
        self.call("Input.dispatchMouseEvent", event).map(|_| ())
    }

    /// The window is a touch screen from now on.
    pub fn touch_screen(&self) -> Result<()> {
        let touch = json!({ "enabled": true, "maxTouchPoints": 5 });
        self.call("Emulation.setTouchEmulationEnabled", touch)
            .map(|_| ())
    }

    /// Puts a finger on one element, rests for a while, and moves it to another.
    pub fn touch_drag(&self, from: &str, to: &str, rest: Duration) -> Result<()> {
        let (from, to) = (self.middle_of(from)?, self.middle_of(to)?);
        self.touch("touchStart", &[from])?;
        sleep(rest);
        for step in 1..=8 {
            let part = f64::from(step) / 8.0;
            let between = |from: f64, to: f64| from + (to - from) * part;
            self.touch(
                "touchMove",
                &[(between(from.0, to.0), between(from.1, to.1))],
            )?;
        }
        self.touch("touchEnd", &[])
    }

    pub fn tap(&self, selector: &str) -> Result<()> {
        self.touch("touchStart", &[self.middle_of(selector)?])?;
        self.touch("touchEnd", &[])
    }

    fn touch(&self, kind: &str, points: &[(f64, f64)]) -> Result<()> {
        let points = points.iter().map(|(x, y)| json!({ "x": x, "y": y }));
        let event = json!({ "type": kind, "touchPoints": points.collect::<Vec<_>>() });
        self.call("Input.dispatchTouchEvent", event).map(|_| ())
    }

    /// Presses an arrow key while Shift is held.
    pub fn press_with_shift(&self, key: &str) -> Result<()> {
        let code = match key {
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => bail!("no key code known for {key}"),
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": SHIFT,
            });
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }
}
