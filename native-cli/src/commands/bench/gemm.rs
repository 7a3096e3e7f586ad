//! Matrix products: `onebit bench --gemm`.

use anyhow::Result;
use serde_json::json;
use ternary::backend::bench::gemm_seconds;

use crate::args::{Bench, MixedPrecision};
use crate::model;
use crate::output::outln;

/// Operations worth timing: smaller products are repeated until there are as many.
const LEAST_WORK: f64 = 4e9;

pub fn run(a: &Bench) -> Result<()> {
    let mut backend = model::open_device(a.device, &a.backend_options())?;
    let info = backend.info();
    let precision = match a.mixed_precision {
        MixedPrecision::No => "f32",
        MixedPrecision::F16 => "f16",
    };
    let mut rows = Vec::new();
    for &size in &a.gemm {
        let work = 2.0 * (size as f64).powi(3);
        let repeat = (LEAST_WORK / work).ceil().clamp(1.0, 1000.0) as usize;
        let mut all = (0..a.repeat.max(1))
            .map(|_| pollster::block_on(gemm_seconds(backend.as_mut(), size, repeat)))
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_by(f64::total_cmp);
        rows.push((size, work / all[all.len() / 2] / 1e12));
    }
    if a.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(size, speed)| json!({"device": info.name, "size": size, "precision": precision, "tflops": speed}))
            .collect();
        outln!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    outln!("{:>6} {:>10} {:>10}", "size", "precision", "TFLOP/s");
    for (size, speed) in rows {
        outln!("{size:>6} {:>10} {speed:>10.4}", precision);
    }
    Ok(())
}
