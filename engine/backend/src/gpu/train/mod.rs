//! Dispatches of the operations only training has. Sums are cut into parts by shape alone and
//! joined in a fixed order, so results are the same from run to run on one device.

mod attention;
mod elementwise;
/// Not in a page: what it fetches to train has a limit, and models that it trains are small.
#[cfg(not(target_arch = "wasm32"))]
pub(super) mod groups;
pub(super) mod halves;
pub(super) mod products;

use ternary_shaders as shaders;

use super::device::DEVICE;
use super::forms::Forms;
use super::kernel::{Call, Slice};
use super::memory::Memory;
use crate::BackendError;
use attention::{attention, attention_backward};
use elementwise::elementwise;
use ternary_core::config::QuantMode;
use ternary_model::program::{BufferId, Op, WeightQuant};

/// An operation's dispatches, or why there are none.
pub(super) type Lowered = Result<Vec<Call>, BackendError>;

/// Elements a workgroup sums at least before a tensor is cut into more stretches.
const MIN_STRETCH: usize = 4096;
/// Bands of rows that the gradient of a norm's weight is summed in at most.
const MAX_BANDS: usize = 128;
/// Rows of a band at least.
const MIN_BAND: usize = 32;

/// Equal stretches of a sum over `len` elements: how many, and how long. One workgroup can join
/// them.
fn stretches(len: usize) -> (usize, usize) {
    let most = shaders::TENSOR_STATS.constant("REDUCE_LANES") as usize;
    let stretch = len.div_ceil(most).max(MIN_STRETCH);
    (len.div_ceil(stretch).max(1), stretch)
}

/// Bands of the items a norm's weight gradient sums over, and the length of each.
fn bands(items: usize) -> (usize, usize) {
    let band = items.div_ceil(MAX_BANDS).max(MIN_BAND);
    (items.div_ceil(band).max(1), band)
}

/// Bytes that `op` needs between its dispatches.
pub(super) fn workspace_bytes(op: &Op) -> usize {
    let floats = match *op {
        Op::FakeQuantWeight {
            rows, cols, quant, ..
        } if quant.group == 0 => 3 * stretches(rows * cols).0,
        Op::MatMul { m, n, k, .. } => products::workspace_floats([m, n, k]),
        Op::RmsNormBackward {
            rows, groups, dim, ..
        } => bands(rows * groups).0 * dim,
        Op::AttentionBackward { shape, .. } => shape.batch * shape.heads * shape.seq,
        Op::SquaredNorm { len, .. } => stretches(len).0,
        _ => 0,
    };
    floats * size_of::<f32>()
}

/// The first `floats` of the workspace.
fn workspace(memory: &Memory, floats: usize) -> Slice {
    Slice {
        buffer: memory.workspace.clone(),
        offset: 0,
        size: (floats * size_of::<f32>()).max(16) as u64,
    }
}

fn unsupported(op: &Op, reason: String) -> BackendError {
    BackendError::Unsupported {
        device: DEVICE,
        op: op.name(),
        reason,
    }
}

/// Dispatches of a training operation; `None` if it is not one.
pub(super) fn lower(op: &Op, memory: &Memory, forms: &Forms) -> Option<Lowered> {
    Some(match *op {
        Op::FakeQuantWeight {
            latent,
            out,
            rows,
            cols,
            quant,
            arenas,
        } => fake_quant_weight(op, memory, latent, out, rows * cols, quant, arenas),
        Op::MatMul { .. } => products::matmul(op, memory, forms, 1),
        Op::RmsNormBackward { .. } => rms_norm_backward(op, memory),
        Op::Attention {
            q,
            k,
            v,
            positions,
            out,
            lse,
            shape,
        } => attention(memory, [q, k, v, out, lse], positions, shape),
        Op::AttentionBackward { .. } => attention_backward(op, memory),
        Op::SquaredNorm {
            grad,
            out,
            slot,
            len,
        } => squared_norm(memory, grad, out, slot, len),
        _ => elementwise(op, memory)?.map(|call| vec![call]),
    })
}

fn fake_quant_weight(
    op: &Op,
    memory: &Memory,
    latent: BufferId,
    out: BufferId,
    len: usize,
    quant: WeightQuant,
    arenas: bool,
) -> Result<Vec<Call>, BackendError> {
    let quantizer = match quant.mode {
        QuantMode::EightBit => "EIGHT_BIT",
        QuantMode::Ternary if quant.twn => "TWN",
        QuantMode::Ternary => "TERNARY",
        QuantMode::Binary if quant.centered => "CENTERED",
        QuantMode::Binary => "BINARY",
        QuantMode::F32 | QuantMode::F16 => {
            return Err(unsupported(op, "float weights are used as they are".into()));
        }
    };
    let (of_spans, of_tensor) = match memory.is_half(out) {
        true => (
            &shaders::FAKE_QUANT_WEIGHT_F16,
            &shaders::FAKE_QUANT_TENSOR_F16,
        ),
        false => (&shaders::FAKE_QUANT_WEIGHT, &shaders::FAKE_QUANT_TENSOR),
    };
    let (latent, out) = (memory.bind(latent)?, memory.bind(out)?);
    let call = |shader: &'static shaders::Shader| {
        Call::new(shader)
            .bind("latent", latent.clone())
            .size("SPAN", if quant.group == 0 { len } else { quant.group })
            .set("QUANTISER", shader.constant(quantizer))
            .set("SCALED", quant.scaled)
            .set("CLAMP", quant.clamp)
            .set("ARENAS", arenas)
    };
    if quant.group > 0 {
        if !len.is_multiple_of(quant.group) {
            let group = quant.group;
            return Err(unsupported(
                op,
                format!("{len} weights are not groups of {group}"),
            ));
        }
        let spans = len / quant.group;
        return Ok(vec![
            call(of_spans)
                .bind("out", out)
                .size("SPANS", spans)
                .workgroups(spans),
        ]);
    }
    let (parts, stretch) = stretches(len);
    let space = workspace(memory, 3 * parts);
    let stretched = |shader| {
        call(shader)
            .bind("parts", space.clone())
            .size("PARTS", parts)
            .size("STRETCH", stretch)
            .workgroups(parts)
    };
    let two_passes = matches!(quantizer, "TWN" | "CENTERED");
    let mut calls: Vec<Call> = [false, true]
        .into_iter()
        .filter(|second| two_passes || !second)
        .map(|second| stretched(&shaders::TENSOR_STATS).set("SECOND", second))
        .collect();
    calls.push(stretched(of_tensor).bind("out", out));
    Ok(calls)
}

/// `out` `[len]` (+)= scale · Σ `parts` of `x`.
fn scaled_sum(
    x: Slice,
    parts: usize,
    scale: f32,
    out: Slice,
    len: usize,
    accumulate: bool,
) -> Call {
    Call::new(&shaders::SCALED_SUM)
        .bind("parts", x)
        .bind("out", out)
        .size("PARTS", parts)
        .size("LEN", len)
        .set("SCALE", scale)
        .set("ACCUMULATE", accumulate)
        .items(len)
}

fn rms_norm_backward(op: &Op, memory: &Memory) -> Result<Vec<Call>, BackendError> {
    let Op::RmsNormBackward {
        x,
        weight,
        rstd,
        dy,
        dx,
        dweight,
        rows,
        groups,
        dim,
        accumulate,
    } = *op
    else {
        unreachable!("the caller matched it");
    };
    let items = rows * groups;
    let (count, band) = bands(items);
    let space = workspace(memory, count * dim);
    let inputs = |call: Call| -> Result<Call, BackendError> {
        Ok(call
            .bind("x", memory.bind(x)?)
            .bind("rstd", memory.bind(rstd)?)
            .bind("dy", memory.bind(dy)?)
            .size("ITEMS", items)
            .size("DIM", dim))
    };
    let shader = &shaders::RMS_NORM_WEIGHT_GRAD;
    Ok(vec![
        inputs(Call::new(&shaders::RMS_NORM_BACKWARD))?
            .bind("weight", memory.bind(weight)?)
            .bind("dx", memory.bind(dx)?)
            .set("ACCUMULATE", accumulate)
            .workgroups(items),
        inputs(Call::new(shader))?
            .bind("parts", space.clone())
            .size("BAND", band)
            .grid([dim.div_ceil(shader.invocations() as usize), count, 1]),
        scaled_sum(space, count, 1.0, memory.bind(dweight)?, dim, true),
    ])
}

fn squared_norm(
    memory: &Memory,
    grad: BufferId,
    out: BufferId,
    slot: usize,
    len: usize,
) -> Result<Vec<Call>, BackendError> {
    let sum = |x, len, stretch, out, slot, squared| {
        Call::new(&shaders::SUM_SQUARES)
            .bind("x", x)
            .bind("out", out)
            .size("LEN", len)
            .size("STRETCH", stretch)
            .size("SLOT", slot)
            .set("SQUARED", squared)
    };
    let (grad, out) = (memory.bind(grad)?, memory.bind(out)?);
    let (parts, stretch) = stretches(len);
    if parts == 1 {
        return Ok(vec![sum(grad, len, stretch, out, slot, true)]);
    }
    let space = workspace(memory, parts);
    Ok(vec![
        sum(grad, len, stretch, space.clone(), 0, true).workgroups(parts),
        sum(space, parts, parts, out, slot, false),
    ])
}
