//! Parts of the page that need no browser: their own tests, which would not run in WebAssembly.

#[path = "../../src/ui/explorer/camera.rs"]
mod camera;
#[path = "../../src/ui/explorer/outliers.rs"]
mod outliers;
#[path = "../../src/ui/explorer/place.rs"]
mod place;
#[path = "../../src/ui/engine/requests.rs"]
mod requests;
#[path = "../../src/ui/widgets/scale.rs"]
mod scale;
#[path = "../../src/ui/explorer/strips.rs"]
mod strips;
#[path = "../../src/ui/chat/tools.rs"]
mod tools;
