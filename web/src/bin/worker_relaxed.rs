//! The engine's thread where the browser has relaxed SIMD: `worker` with the faster kernels.

#[global_allocator]
static ALLOCATOR: ternary::platform::Allocator = ternary::platform::Allocator;

fn main() {
    ternary_web::worker::start::<ternary_web::worker::ChatOnly>();
}
