//! The matrix and the part of it that is seen, in the page's address.

/// What is in the middle, and how many pixels a weight has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub row: f64,
    pub column: f64,
    pub scale: f64,
}

/// A matrix by its parameter's name, and what is seen of it; all of it where that is not said.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub parameter: String,
    pub view: Option<View>,
}

impl Place {
    /// `NAME` or `NAME/ROW,COLUMN,SCALE`; what cannot be read is left out.
    pub fn read(text: &str) -> Option<Self> {
        let (parameter, view) = text.split_once('/').unwrap_or((text, ""));
        let mut numbers = view.split(',');
        let view = (|| {
            let view = View {
                row: numbers.next()?.parse().ok()?,
                column: numbers.next()?.parse().ok()?,
                scale: numbers.next()?.parse().ok()?,
            };
            let sound = [view.row, view.column, view.scale].into_iter();
            let mut sound = sound.map(|number| number.is_finite() && number >= 0.0);
            (sound.all(|sound| sound) && view.scale > 0.0).then_some(view)
        })();
        let parameter = parameter.to_owned();
        (!parameter.is_empty()).then_some(Self { parameter, view })
    }

    pub fn write(&self) -> String {
        let Self { parameter, view } = self;
        match view {
            Some(View { row, column, scale }) => {
                format!("{parameter}/{row:.2},{column:.2},{scale:.3}")
            }
            None => parameter.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "lm_head.weight",
            "model.layers.3.mlp.up_proj.weight/17.00,250.25,12.500",
        ] {
            assert_eq!(
                Place::read(text).map(|place| place.write()).as_deref(),
                Some(text)
            );
        }
        assert_eq!(Place::read(""), None);
        for odd in [
            "a/1,2",
            "a/x,y,z",
            "a/1,2,-3",
            "a/1,2,inf",
            "a/",
            "a/1,2,NaN",
        ] {
            assert_eq!(
                Place::read(odd).map(|place| place.write()).as_deref(),
                Some("a")
            );
        }
    }
}
