//! The WGSL of ternary-core, and what it declares.
//!
//! `wgsl/` holds one file per operation (a matrix product has one per weight mode and form);
//! `wgsl/lib/` the snippets they share, brought in by lines `#import "lib/name.wgsl"`. The build
//! script composes, validates and reflects them, so a shader that does not compile fails the build,
//! and bindings and workgroup sizes have WGSL as their only home. Shapes are `override` constants,
//! given when a pipeline is created.

/// One composed shader.
#[derive(Debug)]
pub struct Shader {
    /// File name without extension.
    pub name: &'static str,
    /// Its source, one behind the other; shaders share them.
    pub parts: &'static [&'static str],
    /// Name of the only entry point.
    pub entry: &'static str,
    pub workgroup_size: [u32; 3],
    /// In order of index; all in group 0.
    pub bindings: &'static [Binding],
    /// The `const` declarations of type u32 with a literal value.
    pub constants: &'static [(&'static str, u32)],
    /// Whether it takes a device with subgroups.
    pub subgroups: bool,
}

#[derive(Debug)]
pub struct Binding {
    pub index: u32,
    pub name: &'static str,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Uniform,
    Read,
    ReadWrite,
}

impl Shader {
    /// WGSL, as a device takes it.
    pub fn source(&self) -> String {
        self.parts.concat()
    }

    /// Invocations of one workgroup.
    pub fn invocations(&self) -> u32 {
        self.workgroup_size.iter().product()
    }

    /// The value of a `const` of this shader; asking for one that it does not declare is a bug.
    pub fn constant(&self, name: &str) -> u32 {
        match self.constants.iter().find(|(n, _)| *n == name) {
            Some((_, value)) => *value,
            None => panic!("shader `{}` has no constant `{name}`", self.name),
        }
    }
}

/// `dot4I8Packed` in plain WGSL: put behind a shader where the language feature
/// `packed_4x8_integer_dot_product` is missing (a module-scope function hides the built-in one).
pub static DOT4_FALLBACK: &str = include_str!("../wgsl/lib/dot4_fallback.wgsl");

include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shader_stays_within_the_limits_every_device_has() {
        for shader in ALL {
            assert!(shader.invocations() <= 256, "{}", shader.name);
            let storage = shader
                .bindings
                .iter()
                .filter(|b| b.access != Access::Uniform);
            assert!(storage.count() <= 8, "{}", shader.name);
        }
    }
}
