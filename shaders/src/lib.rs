//! WGSL sources and their reflected interfaces.
