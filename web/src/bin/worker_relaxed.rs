//! The engine's thread where the browser has relaxed SIMD: `worker` with the faster kernels.

fn main() {
    console_error_panic_hook::set_once();
    ternary_web::worker::start::<ternary_web::worker::ChatOnly>();
}
