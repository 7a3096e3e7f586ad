//! The engine's thread where models are changed: everything the other does, fine-tuning and other
//! bit-maps.

fn main() {
    console_error_panic_hook::set_once();
    ternary_web::worker::start::<ternary_web::worker::Full>();
}
