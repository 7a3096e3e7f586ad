//! The engine's thread.

#[global_allocator]
static ALLOCATOR: ternary::platform::Allocator = ternary::platform::Allocator;

fn main() {
    ternary_web::worker::start::<ternary_web::worker::ChatOnly>();
}
