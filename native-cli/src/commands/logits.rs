//! `onebit logits`.

use anyhow::Result;
use safetensors::tensor::{Dtype, TensorView};

use crate::args::Logits;
use crate::commands::export;
use crate::{model, output};

pub fn run(a: &Logits) -> Result<()> {
    output::check(&a.output, &[&a.model.model])?;
    output::check_kind("--output", &a.output, "safetensors")?;
    let (mut session, info) = model::open(&a.model)?;
    let mut values: Vec<u8> = Vec::new();
    pollster::block_on(session.loaded()?.model.logits(&a.ids, &mut |rows| {
        values.extend(rows.iter().flat_map(|v| v.to_le_bytes()));
    }))?;
    let shape = vec![a.ids.len(), info.config.vocab_size];
    let view = TensorView::new(Dtype::F32, shape, &values)?;
    let bytes = safetensors::serialize([("logits", view)], None)?;
    export::write(&a.output, &bytes)
}
