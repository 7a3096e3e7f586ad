//! The forms a product of a matrix with rows of activations is computed in. All give the same
//! results, integers exactly and floats to the bit, so that a choice among them is one of speed
//! alone. Which is the fastest depends on the device: see [`super::tune`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ternary_shaders::{self as shaders, Shader};

use super::cache;
use crate::BackendError;
use ternary_core::config::QuantMode;
use ternary_model::program::{LinearInput, Weight};

/// Names the forms to use: a list with commas.
pub(crate) const VARIABLE: &str = "ONEBIT_GPU_FORMS";

/// File of the choices in the cache folder.
const FILE: &str = "gpu-forms.json";

/// Sizes of subgroups that the shaders are written for.
const SUBGROUPS: std::ops::RangeInclusive<u32> = 4..=128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One to eight rows: sums are joined in workgroup memory.
    Workgroup,
    /// The same, joined within subgroups.
    Subgroup,
    /// [`Form::Workgroup`], int8 codes multiplied as floats.
    WorkgroupFloat,
    /// [`Form::Subgroup`], int8 codes multiplied as floats.
    SubgroupFloat,
    /// Many rows: tiles of results.
    Tiles,
}

impl Form {
    pub const ALL: [Form; 5] = [
        Form::Workgroup,
        Form::Subgroup,
        Form::WorkgroupFloat,
        Form::SubgroupFloat,
        Form::Tiles,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Form::Workgroup => "workgroup",
            Form::Subgroup => "subgroup",
            Form::WorkgroupFloat => "workgroup-float",
            Form::SubgroupFloat => "subgroup-float",
            Form::Tiles => "tiles",
        }
    }

    fn named(name: &str) -> Option<Form> {
        Form::ALL.into_iter().find(|form| form.name() == name)
    }

    pub fn uses_subgroups(self) -> bool {
        matches!(self, Form::Subgroup | Form::SubgroupFloat)
    }

    /// Whether int8 codes are multiplied as floats.
    pub fn float_dot(self) -> bool {
        matches!(self, Form::WorkgroupFloat | Form::SubgroupFloat)
    }

    /// The shader of a product; `None` where float weights meet int8 activations.
    pub fn shader(self, int8: bool, mode: QuantMode) -> Option<&'static Shader> {
        use QuantMode::{Binary, EightBit, F16, F32, Ternary};
        let many = self == Form::Tiles;
        Some(match (int8, mode, many, self.uses_subgroups()) {
            (true, F32 | F16, ..) => return None,
            (true, Ternary, true, _) => &shaders::INT8_GEMM_TERNARY,
            (true, Binary, true, _) => &shaders::INT8_GEMM_BINARY,
            (true, EightBit, true, _) => &shaders::INT8_GEMM_EIGHTBIT,
            (true, Ternary, false, false) => &shaders::INT8_GEMV_TERNARY,
            (true, Binary, false, false) => &shaders::INT8_GEMV_BINARY,
            (true, EightBit, false, false) => &shaders::INT8_GEMV_EIGHTBIT,
            (true, Ternary, false, true) => &shaders::INT8_GEMV_SUBGROUP_TERNARY,
            (true, Binary, false, true) => &shaders::INT8_GEMV_SUBGROUP_BINARY,
            (true, EightBit, false, true) => &shaders::INT8_GEMV_SUBGROUP_EIGHTBIT,
            (false, Ternary, true, _) => &shaders::FLOAT_GEMM_TERNARY,
            (false, Binary, true, _) => &shaders::FLOAT_GEMM_BINARY,
            (false, EightBit, true, _) => &shaders::FLOAT_GEMM_EIGHTBIT,
            (false, F16, true, _) => &shaders::FLOAT_GEMM_F16,
            (false, F32, true, _) => &shaders::FLOAT_GEMM_F32,
            (false, Ternary, false, false) => &shaders::FLOAT_GEMV_TERNARY,
            (false, Binary, false, false) => &shaders::FLOAT_GEMV_BINARY,
            (false, EightBit, false, false) => &shaders::FLOAT_GEMV_EIGHTBIT,
            (false, F16, false, false) => &shaders::FLOAT_GEMV_F16,
            (false, F32, false, false) => &shaders::FLOAT_GEMV_F32,
            (false, Ternary, false, true) => &shaders::FLOAT_GEMV_SUBGROUP_TERNARY,
            (false, Binary, false, true) => &shaders::FLOAT_GEMV_SUBGROUP_BINARY,
            (false, EightBit, false, true) => &shaders::FLOAT_GEMV_SUBGROUP_EIGHTBIT,
            (false, F16, false, true) => &shaders::FLOAT_GEMV_SUBGROUP_F16,
            (false, F32, false, true) => &shaders::FLOAT_GEMV_SUBGROUP_F32,
        })
    }
}

/// The most rows that are multiplied as vectors.
pub(crate) fn most_vector_rows() -> usize {
    shaders::INT8_GEMV_TERNARY.constant("MOST_GEMV_ROWS") as usize
}

/// What a choice is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub int8: bool,
    pub mode: QuantMode,
    pub rows: usize,
    pub out_dim: usize,
    pub in_dim: usize,
    pub group: usize,
}

impl Shape {
    pub fn of(input: LinearInput, weight: &Weight, rows: usize) -> Shape {
        Shape {
            int8: matches!(input, LinearInput::Int8 { .. }),
            mode: weight.mode,
            rows,
            out_dim: weight.out_dim,
            in_dim: weight.in_dim,
            group: weight.group,
        }
    }
}

/// Also the name of a choice in the file.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = if self.int8 { "int8" } else { "float" };
        write!(
            f,
            "{} x {} x {} {input} {}",
            self.rows, self.out_dim, self.in_dim, self.mode
        )?;
        if self.group < self.in_dim {
            write!(f, " groups of {}", self.group)?;
        }
        Ok(())
    }
}

/// Which form each product takes on one device.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// The least and the largest size, where the device has subgroups.
    pub subgroups: Option<(u32, u32)>,
    pub forced: Vec<Form>,
    /// By shape.
    chosen: BTreeMap<String, Form>,
    file: Option<PathBuf>,
    /// Adapter and driver.
    device: String,
    /// A form that computes nothing: what compares forms has to find it.
    #[cfg(test)]
    pub planted: Option<Form>,
}

/// Choices by adapter and driver, then by shape.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Choices {
    devices: BTreeMap<String, BTreeMap<String, String>>,
}

impl Choices {
    /// Those in the file; none where it is missing or damaged.
    fn read(file: &Path) -> Choices {
        let text = std::fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

impl Forms {
    /// The forms of a device. `asked`: what [`VARIABLE`] says.
    ///
    /// # Errors
    /// A name in `asked` that no form has, or one that the device has not.
    pub fn open(
        info: &wgpu::AdapterInfo,
        features: wgpu::Features,
        cache_folder: Option<&Path>,
        asked: Option<&str>,
    ) -> Result<Forms, BackendError> {
        let (least, most) = (info.subgroup_min_size, info.subgroup_max_size);
        let fits = SUBGROUPS.contains(&least) && SUBGROUPS.contains(&most);
        let mut forms = Forms {
            subgroups: (features.contains(wgpu::Features::SUBGROUP) && fits)
                .then_some((least, most)),
            device: format!(
                "{} ({}) {} {}",
                info.name, info.backend, info.driver, info.driver_info
            ),
            file: cache_folder.map(|folder| folder.join(FILE)),
            ..Forms::default()
        };
        forms.force(asked.unwrap_or_default())?;
        if let Some(kept) = forms
            .kept()
            .and_then(|mut c| c.devices.remove(&forms.device))
        {
            let known = kept
                .into_iter()
                .filter_map(|(shape, name)| Some((shape, Form::named(&name)?)));
            forms.chosen = known.collect();
        }
        Ok(forms)
    }

    fn kept(&self) -> Option<Choices> {
        self.file.as_deref().map(Choices::read)
    }

    /// Use the forms of a list of names wherever they apply, whatever was chosen.
    pub fn force(&mut self, names: &str) -> Result<(), BackendError> {
        let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
        let forced = names.map(|name| {
            let form = Form::named(name).filter(|form| self.has(*form));
            form.ok_or_else(|| BackendError::UnknownForm {
                name: name.to_owned(),
                known: self.names().join(", "),
            })
        });
        self.forced = forced.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Names of the forms that this device has.
    pub fn names(&self) -> Vec<&'static str> {
        let forms = Form::ALL.into_iter().filter(|form| self.has(*form));
        forms.map(Form::name).collect()
    }

    fn has(&self, form: Form) -> bool {
        !form.uses_subgroups() || self.subgroups.is_some()
    }

    /// Forms that a product can have here, first the one that is used where nothing is known.
    pub fn offered(&self, shape: &Shape) -> Vec<Form> {
        let forms = Form::ALL.into_iter().filter(|form| {
            let vector = shape.rows <= most_vector_rows();
            self.has(*form) && vector == (*form != Form::Tiles) && (shape.int8 || !form.float_dot())
        });
        forms.collect()
    }

    /// The form that `shape` takes.
    pub fn of(&self, shape: &Shape) -> Form {
        let offered = self.offered(shape);
        let forced = self.forced.iter().find(|form| offered.contains(form));
        let form = forced.or_else(|| self.chosen.get(&shape.to_string()));
        let form = form.filter(|form| offered.contains(form));
        *form.unwrap_or(&offered[0])
    }

    /// Whether a form is to be chosen yet.
    pub fn is_open(&self, shape: &Shape) -> bool {
        let offered = self.offered(shape);
        offered.len() > 1
            && !offered.iter().any(|form| self.forced.contains(form))
            && !self
                .chosen
                .get(&shape.to_string())
                .is_some_and(|form| offered.contains(form))
    }

    pub fn choose(&mut self, shape: &Shape, form: Form) {
        self.chosen.insert(shape.to_string(), form);
    }

    /// Four weight rows each that a workgroup of subgroups computes.
    pub fn quads(&self) -> usize {
        let invocations = shaders::INT8_GEMV_SUBGROUP_TERNARY.invocations();
        let lanes = shaders::INT8_GEMV_SUBGROUP_TERNARY.constant("GEMV_LANES");
        let smallest = self.subgroups.map_or(lanes, |(least, _)| least);
        (invocations / smallest.min(lanes)) as usize
    }

    /// Keep the choices for other processes. All works without, so a failure is only logged.
    pub fn save(&self) {
        let (Some(file), Some(mut choices)) = (&self.file, self.kept()) else {
            return;
        };
        let names = self
            .chosen
            .iter()
            .map(|(shape, form)| (shape.clone(), form.name().to_owned()));
        let device = choices.devices.entry(self.device.clone()).or_default();
        device.extend(names);
        let written = serde_json::to_vec_pretty(&choices)
            .map_err(std::io::Error::from)
            .and_then(|bytes| cache::write(file, &bytes));
        if let Err(e) = written {
            log::warn!(
                "cannot keep the choice of kernels in {}: {e}",
                file.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: usize, int8: bool) -> Shape {
        Shape {
            int8,
            mode: QuantMode::Ternary,
            rows,
            out_dim: 64,
            in_dim: 256,
            group: 256,
        }
    }

    fn open(folder: Option<&Path>, driver: &str, asked: &str) -> Result<Forms, BackendError> {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Vulkan);
        info.driver = driver.to_owned();
        (info.subgroup_min_size, info.subgroup_max_size) = (8, 32);
        Forms::open(&info, wgpu::Features::SUBGROUP, folder, Some(asked))
    }

    #[test]
    fn choices_are_kept_for_an_adapter_and_its_driver() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below");
        let mut forms = open(Some(&path), "1", "").unwrap();
        assert!(forms.is_open(&shape(1, true)));
        assert_eq!(forms.of(&shape(1, true)), Form::Workgroup);
        forms.choose(&shape(1, true), Form::SubgroupFloat);
        forms.save();
        let again = open(Some(&path), "1", "").unwrap();
        assert!(!again.is_open(&shape(1, true)));
        assert_eq!(again.of(&shape(1, true)), Form::SubgroupFloat);
        assert_eq!(again.of(&shape(2, true)), Form::Workgroup);
        let mut other = open(Some(&path), "2", "").unwrap();
        assert!(other.is_open(&shape(1, true)));
        other.choose(&shape(1, true), Form::Subgroup);
        other.save();
        let again = open(Some(&path), "1", "").unwrap();
        assert_eq!(again.of(&shape(1, true)), Form::SubgroupFloat);

        let file = path.join(FILE);
        for damage in [&b"{\"devices\": 3}"[..], b"", b"\xff\x00"] {
            std::fs::write(&file, damage).unwrap();
            assert!(open(Some(&path), "1", "").unwrap().is_open(&shape(1, true)));
            forms.save();
            assert!(!open(Some(&path), "1", "").unwrap().is_open(&shape(1, true)));
        }
        // No drafts are left over.
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn forms_that_are_asked_for_win_where_they_apply() {
        let mut forms = open(None, "", "subgroup-float,subgroup").unwrap();
        forms.choose(&shape(1, true), Form::Workgroup);
        assert_eq!(forms.of(&shape(1, true)), Form::SubgroupFloat);
        assert_eq!(forms.of(&shape(8, true)), Form::SubgroupFloat);
        assert_eq!(forms.of(&shape(9, true)), Form::Tiles);
        assert_eq!(forms.of(&shape(1, false)), Form::Subgroup);
        assert!(!forms.is_open(&shape(1, true)));

        let error = open(None, "", "workgroup,warp").unwrap_err().to_string();
        assert!(
            error.contains("`warp`") && error.contains("workgroup-float"),
            "{error}"
        );
        let mut forms = Forms::default();
        let error = forms.force("subgroup").unwrap_err().to_string();
        assert!(
            error.contains("workgroup-float") && !error.contains("subgroup-"),
            "{error}"
        );
        assert_eq!(forms.offered(&shape(1, false)), [Form::Workgroup]);
    }

    #[test]
    fn shapes_with_groups_are_others() {
        let mut grouped = shape(1, true);
        grouped.group = 128;
        assert_ne!(grouped.to_string(), shape(1, true).to_string());
    }
}
