//! The feed-forward branch: SwiGLU (gate, up, down) or plain (up, down).

use crate::program::{BufferId, Op};
use ternary_core::config::MatrixKind;

use super::attention::through_norm;
use super::bit_linear::{BitLinear, LinearSaved};
use super::graph::Graph;
use super::norm::{MatrixInput, Norm, NormSaved};
use ternary_core::params::{self, norms};

#[derive(Clone, Debug)]
pub struct Mlp {
    input_norm: Option<Norm>,
    output_norm: Option<Norm>,
    sub_norm: Option<Norm>,
    gate: Option<BitLinear>,
    up: BitLinear,
    down: BitLinear,
}

/// Values of one forward that its backward reads.
#[derive(Clone, Debug)]
pub struct MlpSaved {
    input: MatrixInput,
    /// The activation's input and, with a gate, what it multiplies.
    gate: BufferId,
    up: Option<BufferId>,
    gate_linear: Option<LinearSaved>,
    up_linear: LinearSaved,
    down_linear: LinearSaved,
    output: MatrixInput,
    output_norm: Option<NormSaved>,
}

impl MlpSaved {
    /// What the down projection of a float model without a norm before it reads, `[rows,
    /// intermediate]`.
    pub fn hidden(&self) -> BufferId {
        self.output.dense(false)
    }
}

impl Mlp {
    pub fn new(g: &Graph, layer: usize) -> Self {
        let c = g.config;
        let name = |part: &str| params::layer_norm_name(layer, part);
        let stream = |part: &str| Norm::stream(c, name(part));
        let linear = |kind| BitLinear::of_layer(g, layer, kind);
        Mlp {
            input_norm: (c.norm_placement.before()).then(|| stream(norms::MLP_INPUT)),
            output_norm: (c.norm_placement.after()).then(|| stream(norms::MLP_OUTPUT)),
            sub_norm: c
                .use_sub_norm
                .then(|| Norm::rms(name(norms::MLP_SUB), 1, c.intermediate_size)),
            gate: c.use_swiglu.then(|| linear(MatrixKind::Gate)),
            up: linear(MatrixKind::Up),
            down: linear(MatrixKind::Down),
        }
    }

    /// x `[rows, hidden]` → the branch's output, same shape.
    pub fn forward(&self, g: &mut Graph, x: BufferId) -> (BufferId, Option<MlpSaved>) {
        let c = g.config;
        let (rows, dim) = (g.rows(), c.intermediate_size);
        let mut readers = vec![&self.up];
        readers.extend(&self.gate);
        let input = MatrixInput::new(g, x, c.hidden_size, self.input_norm.as_ref(), &readers);
        let gated = self.gate.as_ref().map(|l| l.forward(g, &input));
        let (up, up_linear) = self.up.forward(g, &input);
        // Without a gate, the activation acts on `up` itself.
        let (gate, gate_linear) = gated.unwrap_or((up, None));
        let second = self.gate.is_some().then_some(up);
        let hidden = g.activations(dim);
        g.rec.push(Op::Activate {
            gate,
            up: second,
            out: hidden,
            activation: c.activation(),
            rows,
            dim,
        });
        let output = MatrixInput::new(g, hidden, dim, self.sub_norm.as_ref(), &[&self.down]);
        let (mut out, down_linear) = self.down.forward(g, &output);
        let mut output_norm = None;
        if let Some(norm) = &self.output_norm {
            (out, output_norm) = norm.forward(g, out);
        }
        let saved = match (up_linear, down_linear) {
            (Some(up_linear), Some(down_linear)) => Some(MlpSaved {
                input,
                gate,
                up: second,
                gate_linear,
                up_linear,
                down_linear,
                output,
                output_norm,
            }),
            _ => None,
        };
        (out, saved)
    }

    /// From the gradient of the branch's output; the gradient of x is added to `dx`.
    pub fn backward(&self, g: &mut Graph, s: &MlpSaved, dout: BufferId, dx: BufferId) {
        let c = g.config;
        let (rows, dim) = (g.rows(), c.intermediate_size);
        let dout = through_norm(g, self.output_norm.as_ref(), s.output_norm.as_ref(), dout);
        let d_output = g.activations(dim);
        self.down.backward(g, &s.down_linear, dout, d_output, false);
        let d_hidden = s
            .output
            .backward(g, self.sub_norm.as_ref(), d_output, dim, None);
        let dgate = g.activations(dim);
        let dup = s.up.map(|_| g.activations(dim));
        g.rec.push(Op::ActivateBackward {
            gate: s.gate,
            up: s.up,
            dout: d_hidden,
            dgate,
            dup,
            activation: c.activation(),
            rows,
            dim,
        });
        let d_input = g.activations(c.hidden_size);
        match (&self.gate, &s.gate_linear, dup) {
            (Some(gate), Some(saved), Some(dup)) => {
                gate.backward(g, saved, dgate, d_input, false);
                self.up.backward(g, &s.up_linear, dup, d_input, true);
            }
            _ => self.up.backward(g, &s.up_linear, dgate, d_input, false),
        }
        s.input.backward(
            g,
            self.input_norm.as_ref(),
            d_input,
            c.hidden_size,
            Some(dx),
        );
    }
}
