//! The page's main thread.

fn main() {
    console_error_panic_hook::set_once();
    ternary_web::ui::start();
}
