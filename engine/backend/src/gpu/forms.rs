//! The forms that a product of a matrix with rows of activations, or attention over a cache, is
//! computed in. All give the same results, integers exactly and floats to the bit, so that a choice
//! among them is one of speed alone. Which is the fastest depends on the device: see
//! [`super::tune`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ternary_shaders::{self as shaders, Shader};

use super::cache;
use super::cooperative::{self, Matrices};
use crate::BackendError;
use ternary_core::config::{CachePrecision, QuantMode};
use ternary_core::quant::tile::act_stride;
use ternary_model::program::{LinearInput, Op, Weight};

/// Names the forms to use: a list with commas.
pub(crate) const VARIABLE: &str = "ONEBIT_GPU_FORMS";

/// Name of the choice that all operands of training's products have in common.
pub(crate) const OPERANDS: &str = "operands in f16";

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
    /// The four above, with every workgroup normalizing and quantizing the rows for itself: one
    /// dispatch instead of two.
    FusedWorkgroup,
    FusedSubgroup,
    FusedWorkgroupFloat,
    FusedSubgroupFloat,
    /// Many rows: tiles of results.
    Tiles,
    /// [`Form::Tiles`], int8 codes multiplied in f16.
    TilesF16,
    /// The same on cooperative matrices.
    TilesCooperative,
    /// The same in tiles of four times as many results.
    TilesCooperativeWide,
    /// Attention: maxima of scores are joined in workgroup memory.
    AttentionWorkgroup,
    /// The same, joined within subgroups first.
    AttentionSubgroup,
    /// Products of training: tiles of 64 × 64 results.
    TrainingTiles,
    /// The same of 128 × 128, for shapes of multiples of 4.
    TrainingWideTiles,
    /// Training that rounds operands of products to f16 stores them in f32, or in f16.
    OperandsF32,
    OperandsF16,
}

impl Form {
    pub const ALL: [Form; 18] = [
        Form::Workgroup,
        Form::Subgroup,
        Form::WorkgroupFloat,
        Form::SubgroupFloat,
        Form::FusedWorkgroup,
        Form::FusedSubgroup,
        Form::FusedWorkgroupFloat,
        Form::FusedSubgroupFloat,
        Form::Tiles,
        Form::TilesF16,
        Form::TilesCooperative,
        Form::TilesCooperativeWide,
        Form::AttentionWorkgroup,
        Form::AttentionSubgroup,
        Form::TrainingTiles,
        Form::TrainingWideTiles,
        Form::OperandsF32,
        Form::OperandsF16,
    ];

    /// Those of attention, first the one that every device has.
    const ATTENTION: [Form; 2] = [Form::AttentionWorkgroup, Form::AttentionSubgroup];
    /// Those of training's products.
    const TRAINING: [Form; 2] = [Form::TrainingTiles, Form::TrainingWideTiles];
    /// Those of training's operands, of which one holds for all.
    pub const OPERANDS: [Form; 2] = [Form::OperandsF16, Form::OperandsF32];

    pub fn name(self) -> &'static str {
        match self {
            Form::Workgroup => "workgroup",
            Form::Subgroup => "subgroup",
            Form::WorkgroupFloat => "workgroup-float",
            Form::SubgroupFloat => "subgroup-float",
            Form::FusedWorkgroup => "fused-workgroup",
            Form::FusedSubgroup => "fused-subgroup",
            Form::FusedWorkgroupFloat => "fused-workgroup-float",
            Form::FusedSubgroupFloat => "fused-subgroup-float",
            Form::Tiles => "tiles",
            Form::TilesF16 => "tiles-f16",
            Form::TilesCooperative => "tiles-cooperative",
            Form::TilesCooperativeWide => "tiles-cooperative-wide",
            Form::AttentionWorkgroup => "attention-workgroup",
            Form::AttentionSubgroup => "attention-subgroup",
            Form::TrainingTiles => "training-tiles",
            Form::TrainingWideTiles => "training-wide-tiles",
            Form::OperandsF32 => "operands-f32",
            Form::OperandsF16 => "operands-f16",
        }
    }

    fn named(name: &str) -> Option<Form> {
        Form::ALL.into_iter().find(|form| form.name() == name)
    }

    pub fn uses_subgroups(self) -> bool {
        use Form::{AttentionSubgroup, FusedSubgroup, FusedSubgroupFloat, Subgroup, SubgroupFloat};
        matches!(
            self,
            Subgroup | SubgroupFloat | FusedSubgroup | FusedSubgroupFloat | AttentionSubgroup
        )
    }

    /// Whether it is one of a matrix of a model, of the others.
    fn is_of_linear(self) -> bool {
        let others = [Form::ATTENTION, Form::TRAINING, Form::OPERANDS];
        !others.as_flattened().contains(&self)
    }

    /// Whether it is for more rows than are multiplied as vectors.
    pub fn is_tiles(self) -> bool {
        matches!(self, Form::Tiles | Form::TilesF16) || self.is_cooperative()
    }

    pub fn is_cooperative(self) -> bool {
        matches!(self, Form::TilesCooperative | Form::TilesCooperativeWide)
    }

    /// Whether int8 codes are multiplied as floats.
    pub fn float_dot(self) -> bool {
        use Form::{FusedSubgroupFloat, FusedWorkgroupFloat, SubgroupFloat, WorkgroupFloat};
        matches!(
            self,
            WorkgroupFloat | SubgroupFloat | FusedWorkgroupFloat | FusedSubgroupFloat
        )
    }

    /// Whether what comes before the product is part of it.
    pub fn is_fused(self) -> bool {
        use Form::{FusedSubgroup, FusedSubgroupFloat, FusedWorkgroup, FusedWorkgroupFloat};
        matches!(
            self,
            FusedWorkgroup | FusedSubgroup | FusedWorkgroupFloat | FusedSubgroupFloat
        )
    }

    /// The shader of a product but for those on cooperative matrices; `None` where there is none,
    /// as of float weights and int8 activations.
    fn shader(self, int8: bool, mode: QuantMode) -> Option<&'static Shader> {
        use QuantMode::{Binary, EightBit, F16, F32, Ternary};
        if self.is_tiles() {
            return Some(match (int8, mode, self) {
                (true, Ternary, Form::TilesF16) => &shaders::INT8_GEMM_F16_TERNARY,
                (true, Binary, Form::TilesF16) => &shaders::INT8_GEMM_F16_BINARY,
                (true, EightBit, Form::TilesF16) => &shaders::INT8_GEMM_F16_EIGHTBIT,
                (true, Ternary, Form::Tiles) => &shaders::INT8_GEMM_TERNARY,
                (true, Binary, Form::Tiles) => &shaders::INT8_GEMM_BINARY,
                (true, EightBit, Form::Tiles) => &shaders::INT8_GEMM_EIGHTBIT,
                (false, Ternary, Form::Tiles) => &shaders::FLOAT_GEMM_TERNARY,
                (false, Binary, Form::Tiles) => &shaders::FLOAT_GEMM_BINARY,
                (false, EightBit, Form::Tiles) => &shaders::FLOAT_GEMM_EIGHTBIT,
                (false, F16, Form::Tiles) => &shaders::FLOAT_GEMM_F16,
                (false, F32, Form::Tiles) => &shaders::FLOAT_GEMM_F32,
                _ => return None,
            });
        }
        Some(match (int8, mode, self.is_fused(), self.uses_subgroups()) {
            (true, F32 | F16, ..) => return None,
            (true, Ternary, false, false) => &shaders::INT8_GEMV_TERNARY,
            (true, Binary, false, false) => &shaders::INT8_GEMV_BINARY,
            (true, EightBit, false, false) => &shaders::INT8_GEMV_EIGHTBIT,
            (true, Ternary, false, true) => &shaders::INT8_GEMV_SUBGROUP_TERNARY,
            (true, Binary, false, true) => &shaders::INT8_GEMV_SUBGROUP_BINARY,
            (true, EightBit, false, true) => &shaders::INT8_GEMV_SUBGROUP_EIGHTBIT,
            (true, Ternary, true, false) => &shaders::QUANT_GEMV_TERNARY,
            (true, Binary, true, false) => &shaders::QUANT_GEMV_BINARY,
            (true, EightBit, true, false) => &shaders::QUANT_GEMV_EIGHTBIT,
            (true, Ternary, true, true) => &shaders::QUANT_GEMV_SUBGROUP_TERNARY,
            (true, Binary, true, true) => &shaders::QUANT_GEMV_SUBGROUP_BINARY,
            (true, EightBit, true, true) => &shaders::QUANT_GEMV_SUBGROUP_EIGHTBIT,
            (false, Ternary, _, false) => &shaders::FLOAT_GEMV_TERNARY,
            (false, Binary, _, false) => &shaders::FLOAT_GEMV_BINARY,
            (false, EightBit, _, false) => &shaders::FLOAT_GEMV_EIGHTBIT,
            (false, F16, _, false) => &shaders::FLOAT_GEMV_F16,
            (false, F32, _, false) => &shaders::FLOAT_GEMV_F32,
            (false, Ternary, _, true) => &shaders::FLOAT_GEMV_SUBGROUP_TERNARY,
            (false, Binary, _, true) => &shaders::FLOAT_GEMV_SUBGROUP_BINARY,
            (false, EightBit, _, true) => &shaders::FLOAT_GEMV_SUBGROUP_EIGHTBIT,
            (false, F16, _, true) => &shaders::FLOAT_GEMV_SUBGROUP_F16,
            (false, F32, _, true) => &shaders::FLOAT_GEMV_SUBGROUP_F32,
        })
    }
}

/// What a form of attention is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub rows: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub precision: CachePrecision,
}

impl Heads {
    /// None of another operation.
    pub fn of(op: &Op) -> Option<Heads> {
        match *op {
            Op::CachedAttention {
                rows,
                heads,
                kv_heads,
                head_dim,
                precision,
                ..
            } => Some(Heads {
                rows,
                heads,
                kv_heads,
                head_dim,
                precision,
            }),
            _ => None,
        }
    }

    pub fn shader(&self, form: Form) -> &'static Shader {
        match (self.precision, form.uses_subgroups()) {
            (CachePrecision::F32, false) => &shaders::ATTENTION,
            (CachePrecision::F16, false) => &shaders::ATTENTION_F16,
            (CachePrecision::Q8, false) => &shaders::ATTENTION_Q8,
            (CachePrecision::F32, true) => &shaders::ATTENTION_SUBGROUP,
            (CachePrecision::F16, true) => &shaders::ATTENTION_SUBGROUP_F16,
            (CachePrecision::Q8, true) => &shaders::ATTENTION_SUBGROUP_Q8,
        }
    }
}

/// Also the name of a choice in the file.
impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Heads {
            rows,
            heads,
            kv_heads,
            head_dim,
            precision,
        } = self;
        write!(
            f,
            "attention of {rows} x {heads} heads of {head_dim} over {kv_heads} in {precision:?}"
        )
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
    /// The rows are yet to be normalized or quantized.
    pub raw: bool,
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
            raw: false,
            mode: weight.mode,
            rows,
            out_dim: weight.out_dim,
            in_dim: weight.in_dim,
            group: weight.group,
        }
    }

    /// Whether sums of its codes stay exact on cooperative matrices, which know no groups:
    /// lib/int8_gemm_cooperative.wgsl says how large they may be.
    fn cooperates(&self) -> bool {
        self.mode.is_latent() && self.group >= self.in_dim && 127 * self.in_dim < 1 << 22
    }

    /// Workgroup memory that a fused form takes for it.
    fn fused_bytes(&self) -> usize {
        let shader = &shaders::QUANT_GEMV_TERNARY;
        let constant = |name| shader.constant(name) as usize;
        let words = constant("REDUCE_LANES")
            + constant("REDUCE_PARTS")
            + constant("GROUP_ROWS") * constant("LANE_STRIDE")
            + self.rows;
        let codes = if self.int8 {
            act_stride(self.in_dim)
        } else {
            0
        };
        4 * words + self.rows * codes
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
        if self.raw {
            f.write_str(" from raw rows")?;
        }
        Ok(())
    }
}

/// Which form each product takes on one device.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// The least and the largest size, where the device has subgroups.
    pub subgroups: Option<(u32, u32)>,
    /// Memory that a workgroup may have.
    pub workgroup_bytes: usize,
    /// Whether shaders may compute in f16.
    halves: bool,
    /// The cooperative matrices that shaders use.
    pub cooperative: Option<Matrices>,
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
        cooperative: Option<Matrices>,
        limits: &wgpu::Limits,
        cache_folder: Option<&Path>,
        asked: Option<&str>,
    ) -> Result<Forms, BackendError> {
        let (least, most) = (info.subgroup_min_size, info.subgroup_max_size);
        let fits = SUBGROUPS.contains(&least) && SUBGROUPS.contains(&most);
        let mut forms = Forms {
            subgroups: (features.contains(wgpu::Features::SUBGROUP) && fits)
                .then_some((least, most)),
            workgroup_bytes: limits.max_compute_workgroup_storage_size as usize,
            halves: features.contains(wgpu::Features::SHADER_F16),
            cooperative,
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
        match form {
            Form::TilesF16 => self.halves,
            Form::TilesCooperative | Form::TilesCooperativeWide => {
                self.shader(form, true, QuantMode::Ternary).is_some()
            }
            Form::TrainingTiles | Form::TrainingWideTiles => cfg!(feature = "training"),
            Form::OperandsF32 | Form::OperandsF16 => cfg!(feature = "training") && self.halves,
            _ => !form.uses_subgroups() || self.subgroups.is_some(),
        }
    }

    /// The shader of a product; `None` where there is none.
    pub fn shader(&self, form: Form, int8: bool, mode: QuantMode) -> Option<&'static Shader> {
        // No browser has cooperative matrices, so that a page is without what uses them.
        #[cfg(not(target_arch = "wasm32"))]
        if form.is_cooperative() {
            let matrices = self.cooperative.filter(|_| int8)?;
            let shader = matrices.of_codes(mode, form == Form::TilesCooperativeWide);
            return shader.filter(|shader| self.fits(shader));
        }
        form.shader(int8, mode)
    }

    /// Whether a workgroup has the memory that a shader with cooperative matrices takes.
    pub fn fits(&self, shader: &Shader) -> bool {
        cooperative::buffers(shader, self.workgroup_bytes) > 0
    }

    /// Forms that a product can have here, first the one that the others are compared with.
    pub fn offered(&self, shape: &Shape) -> Vec<Form> {
        let forms = Form::ALL.into_iter().filter(|form| {
            let vector = shape.rows <= most_vector_rows();
            let fused = shape.raw && shape.fused_bytes() <= self.workgroup_bytes;
            self.has(*form)
                && form.is_of_linear()
                && vector != form.is_tiles()
                && self.shader(*form, shape.int8, shape.mode).is_some()
                && (shape.int8 || !form.float_dot())
                && (fused || !form.is_fused())
                && (shape.cooperates() || !form.is_cooperative())
        });
        forms.collect()
    }

    /// The same of attention, of any shape.
    pub fn of_attention(&self) -> Vec<Form> {
        let forms = Form::ATTENTION.into_iter().filter(|form| self.has(*form));
        forms.collect()
    }

    /// The form that `shape` takes. Where nothing is known, the fewest dispatches are safest: each
    /// costs tens of microseconds.
    pub fn of(&self, shape: &Shape) -> Form {
        let offered = self.offered(shape);
        let usual = offered.iter().find(|form| form.is_fused()).copied();
        let known = self.known(&shape.to_string(), &offered);
        known.or(usual).unwrap_or(offered[0])
    }

    /// The form that attention takes.
    pub fn attention(&self, heads: &Heads) -> Form {
        let known = self.known(&heads.to_string(), &self.of_attention());
        known.unwrap_or(Form::AttentionWorkgroup)
    }

    /// How operands are stored that products of training round to f16: results are the same, so
    /// where nothing was timed they take less memory.
    pub fn operands(&self) -> Form {
        self.pick(OPERANDS, &Form::OPERANDS)
    }

    /// What was asked for or chosen of `offered`, or the first.
    pub fn pick(&self, what: &str, offered: &[Form]) -> Form {
        self.known(what, offered).unwrap_or(offered[0])
    }

    /// What was asked for or chosen of `offered`.
    fn known(&self, what: &str, offered: &[Form]) -> Option<Form> {
        let forced = self.forced.iter().find(|form| offered.contains(form));
        let form = forced.or_else(|| self.chosen.get(what));
        form.filter(|form| offered.contains(form)).copied()
    }

    /// Whether a form of `offered` is to be chosen yet.
    pub fn is_open(&self, what: &str, offered: &[Form]) -> bool {
        offered.len() > 1 && self.known(what, offered).is_none()
    }

    pub fn choose(&mut self, what: String, form: Form) {
        self.chosen.insert(what, form);
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
    use crate::gpu::cooperative::Side;

    fn shape(rows: usize, int8: bool) -> Shape {
        Shape {
            int8,
            raw: false,
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
        let limits = wgpu::Limits::default();
        Forms::open(
            &info,
            wgpu::Features::SUBGROUP,
            None,
            &limits,
            folder,
            Some(asked),
        )
    }

    fn is_open(forms: &Forms, rows: usize) -> bool {
        let shape = shape(rows, true);
        forms.is_open(&shape.to_string(), &forms.offered(&shape))
    }

    #[test]
    fn attention_is_chosen_apart_from_products() {
        let heads = Heads {
            rows: 1,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            precision: CachePrecision::F16,
        };
        let mut forms = open(None, "", "subgroup").unwrap();
        let what = heads.to_string();
        assert!(forms.is_open(&what, &forms.of_attention()));
        assert_eq!(forms.attention(&heads), Form::AttentionWorkgroup);
        forms.choose(what.clone(), Form::AttentionSubgroup);
        assert!(!forms.is_open(&what, &forms.of_attention()));
        assert_eq!(forms.attention(&heads), Form::AttentionSubgroup);
        assert_eq!(forms.of(&shape(1, true)), Form::Subgroup);
        forms.force("attention-workgroup").unwrap();
        assert_eq!(forms.attention(&heads), Form::AttentionWorkgroup);
        // What was chosen with subgroups is of no use without them.
        forms.force("").unwrap();
        forms.subgroups = None;
        assert_eq!(forms.attention(&heads), Form::AttentionWorkgroup);
    }

    #[test]
    fn choices_are_kept_for_an_adapter_and_its_driver() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below");
        let mut forms = open(Some(&path), "1", "").unwrap();
        assert!(is_open(&forms, 1));
        assert_eq!(forms.of(&shape(1, true)), Form::Workgroup);
        forms.choose(shape(1, true).to_string(), Form::SubgroupFloat);
        forms.save();
        let again = open(Some(&path), "1", "").unwrap();
        assert!(!is_open(&again, 1));
        assert_eq!(again.of(&shape(1, true)), Form::SubgroupFloat);
        assert_eq!(again.of(&shape(2, true)), Form::Workgroup);
        let mut other = open(Some(&path), "2", "").unwrap();
        assert!(is_open(&other, 1));
        other.choose(shape(1, true).to_string(), Form::Subgroup);
        other.save();
        let again = open(Some(&path), "1", "").unwrap();
        assert_eq!(again.of(&shape(1, true)), Form::SubgroupFloat);

        let file = path.join(FILE);
        for damage in [&b"{\"devices\": 3}"[..], b"", b"\xff\x00"] {
            std::fs::write(&file, damage).unwrap();
            assert!(is_open(&open(Some(&path), "1", "").unwrap(), 1));
            forms.save();
            assert!(!is_open(&open(Some(&path), "1", "").unwrap(), 1));
        }
        // No drafts are left over.
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn forms_that_are_asked_for_win_where_they_apply() {
        let mut forms = open(None, "", "subgroup-float,subgroup").unwrap();
        forms.choose(shape(1, true).to_string(), Form::Workgroup);
        assert_eq!(forms.of(&shape(1, true)), Form::SubgroupFloat);
        assert_eq!(forms.of(&shape(8, true)), Form::SubgroupFloat);
        assert_eq!(forms.of(&shape(9, true)), Form::Tiles);
        assert_eq!(forms.of(&shape(1, false)), Form::Subgroup);
        assert!(!is_open(&forms, 1));

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
    fn shapes_with_groups_or_raw_rows_are_others() {
        let mut grouped = shape(1, true);
        grouped.group = 128;
        assert_ne!(grouped.to_string(), shape(1, true).to_string());
        let mut raw = shape(1, true);
        raw.raw = true;
        assert_ne!(raw.to_string(), shape(1, true).to_string());
    }

    #[test]
    fn cooperative_matrices_are_offered_where_their_sums_are_exact() {
        let mut forms = open(None, "", "").unwrap();
        forms.cooperative = Some(Matrices {
            side: Side::Sixteen,
            subgroup: 32,
        });
        let offered = |forms: &Forms, shape: &Shape| {
            let offered = forms.offered(shape);
            [Form::TilesCooperative, Form::TilesCooperativeWide].map(|form| offered.contains(&form))
        };
        // 16 KiB hold one step of the narrow tiles, 32 KiB one of the wide ones.
        assert_eq!(offered(&forms, &shape(9, true)), [true, false]);
        forms.workgroup_bytes = 32 << 10;
        assert_eq!(offered(&forms, &shape(9, true)), [true; 2]);
        assert_eq!(offered(&forms, &shape(8, true)), [false; 2]);
        assert_eq!(offered(&forms, &shape(9, false)), [false; 2]);
        for change in [
            |s: &mut Shape| s.mode = QuantMode::EightBit,
            |s: &mut Shape| s.group = 128,
            |s: &mut Shape| (s.in_dim, s.group) = (33_280, 33_280),
        ] {
            let mut other = shape(9, true);
            change(&mut other);
            assert_eq!(offered(&forms, &other), [false; 2], "{other}");
        }
        // Matrices of 8 × 8 have one size of tiles.
        forms.cooperative = Some(Matrices {
            side: Side::Eight,
            subgroup: 32,
        });
        assert_eq!(offered(&forms, &shape(9, true)), [true, false]);
    }

    #[test]
    fn rows_are_quantized_on_the_way_where_they_fit() {
        let forms = open(None, "", "").unwrap();
        let fused = |rows, in_dim| {
            let raw = Shape {
                raw: true,
                in_dim,
                group: in_dim,
                ..shape(rows, true)
            };
            let fused = forms.offered(&raw).iter().any(|form| form.is_fused());
            assert_eq!(forms.of(&raw).is_fused(), fused);
            fused
        };
        // 16 KiB, of which some are for sums.
        for (rows, in_dim, fits) in [
            (1, 2560, true),
            (1, 12_800, true),
            (1, 16_384, false),
            (4, 2560, true),
            (8, 2560, false),
            (9, 64, false),
        ] {
            assert_eq!(fused(rows, in_dim), fits, "{rows} x {in_dim}");
        }
        assert!(!forms.of(&shape(1, true)).is_fused());
    }
}
