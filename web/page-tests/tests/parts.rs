//! Parts of the page that need no browser: their own tests, which would not run in WebAssembly.

#[path = "../../src/ui/explorer/camera.rs"]
mod camera;
#[path = "../../src/ui/engine/requests.rs"]
mod requests;
#[path = "../../src/ui/widgets/scale.rs"]
mod scale;
