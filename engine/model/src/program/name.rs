//! Names of the buffers that a backend's programs share: `KIND.PARAMETER`, made and read here only.

use std::fmt::Display;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $prefix:literal,)*) => {
        /// What a shared buffer holds of a parameter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum BufferKind {
            $($(#[$doc])* $kind,)*
        }

        impl BufferKind {
            const ALL: &'static [Self] = &[$(Self::$kind,)*];

            fn prefix(self) -> &'static str {
                match self {
                    $(Self::$kind => $prefix,)*
                }
            }
        }
    };
}

kinds! {
    /// A trained value: a latent, a norm, a matrix of an adapter.
    Param = "param",
    /// What a matrix would be in a mode that it was not trained in.
    Restored = "restored",
    /// A value that a training of adapters leaves as it is.
    Frozen = "frozen",
    /// The same of a model that is learned from.
    Teacher = "teacher",
    Grad = "grad",
    /// AdamW's moments.
    FirstMoment = "m",
    SecondMoment = "v",
    /// The momentum of the step that several ranks make together after local ones.
    OuterMoment = "outer",
    /// What inference multiplies by: tiles of codes, or floats.
    Weight = "weight",
    /// The scales of a weight's codes.
    Scale = "scale",
    /// A layer's part of the KV cache.
    CachedKeys = "cache.k",
    CachedValues = "cache.v",
}

impl BufferKind {
    /// The name of this of a parameter, or of a layer's number.
    pub fn named(self, of: impl Display) -> String {
        format!("{}.{of}", self.prefix())
    }

    /// The kind of the buffer called `name`; none of those with a name of their own.
    pub fn of(name: &str) -> Option<Self> {
        let begins = |kind: &&Self| {
            let rest = name.strip_prefix(kind.prefix());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        Self::ALL.iter().find(begins).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_kind() {
        for &kind in BufferKind::ALL {
            assert_eq!(BufferKind::of(&kind.named("model.norm.weight")), Some(kind));
            assert_eq!(BufferKind::of(&kind.named(3)), Some(kind));
        }
        for name in ["rope", "teacher", "params.x", "loss"] {
            assert_eq!(BufferKind::of(name), None, "{name}");
        }
    }
}
