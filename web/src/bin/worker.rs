//! The engine's thread.

fn main() {
    console_error_panic_hook::set_once();
    ternary_web::worker::start::<ternary_web::worker::ChatOnly>();
}
