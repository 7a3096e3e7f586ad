//! What components give to elements, without a type of its own for each: every type costs the page
//! a set of functions.

use leptos::prelude::*;
use web_sys::MouseEvent;

/// A click's handler.
pub fn on_click(act: impl Fn() + 'static) -> Box<dyn FnMut(MouseEvent)> {
    Box::new(move |_| act())
}

/// Shows its children when it holds, like `Show`.
#[component]
pub fn When(
    when: Signal<bool>,
    children: ChildrenFn,
    #[prop(optional, into)] fallback: ViewFn,
) -> impl IntoView {
    let when = Memo::new(move |_| when.get());
    live(move || match when.get() {
        true => children(),
        false => fallback.run(),
    })
}

/// A part that is drawn again when what it reads changes.
pub fn live(part: impl Fn() -> AnyView + Send + 'static) -> Box<dyn FnMut() -> AnyView + Send> {
    Box::new(part)
}
