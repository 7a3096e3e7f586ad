//! The engine's thread where models are changed: everything the other does, fine-tuning and other
//! bit-maps.

#[global_allocator]
static ALLOCATOR: ternary::platform::Allocator = ternary::platform::Allocator;

fn main() {
    ternary_web::worker::start::<ternary_web::worker::Full>();
}
