//! Products by tables against those of panels, bit for bit: sums are exact, and rounded alike.

use super::super::tests::noise;
use super::*;
use crate::cpu::linear::by_four;
use ternary_core::quant::tile::TileWriter;

/// `fill` is every code, of the weight and (127 times) of the activations.
fn check(out_dim: usize, in_dim: usize, group: usize, rows: usize, fill: Option<i8>) {
    let seed = &mut (in_dim as u64 * 7 + rows as u64);
    let mut tiles = TileWriter::new(QuantMode::Ternary, out_dim, in_dim);
    for row in 0..out_dim {
        let codes: Vec<i8> = (0..in_dim)
            .map(|_| fill.unwrap_or((noise(seed) % 3) as i8 - 1))
            .collect();
        tiles.row(row, &codes);
    }
    let data = tiles.finish();
    let spans = in_dim / group;
    let mut float = || (noise(seed) % 2000 - 1000) as f32 / 1000.0;
    let scales: Vec<f32> = (0..out_dim * spans).map(|_| float()).collect();
    let w = WeightView {
        mode: QuantMode::Ternary,
        data: &data,
        scales: &scales,
        by_four: &by_four(&scales, spans),
        out_dim,
        in_dim,
        group,
    };
    // Buffers hold more rows than are asked for.
    let held = rows + 3;
    let x_scales: Vec<f32> = (0..held).map(|_| float().abs()).collect();
    let stride = act_stride(in_dim);
    let mut codes = vec![0i8; held * stride];
    for row in codes.chunks_exact_mut(stride) {
        row[..in_dim].fill_with(|| fill.map_or((noise(seed) % 255 - 127) as i8, |_| 127));
    }
    let sums: Vec<i32> = codes
        .chunks_exact(stride)
        .take(rows)
        .flat_map(|row| row[..in_dim].chunks_exact(group))
        .map(|span| span.iter().map(|code| i32::from(*code)).sum())
        .collect();
    let x = Int8Rows {
        codes: &codes,
        scales: &x_scales,
    };
    let level = Level::Avx512Vnni;
    assert!(takes(level, &w));
    let mut want = vec![f32::NAN; rows * out_dim];
    panel::by_products(level, &w, x, &sums, &mut want);
    let mut found = vec![f32::NAN; rows * out_dim];
    product(&w, x, &sums, &mut found);
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
    assert!(
        bits(&found) == bits(&want),
        "{rows} rows, {out_dim} of {in_dim} in groups of {group}"
    );
}

#[test]
fn tables_give_what_products_give() {
    if !Level::available().contains(&Level::Avx512Vnni) || !is_x86_feature_detected!("avx512vbmi") {
        println!("skipped: this processor has no AVX-512 VNNI with VBMI");
        return;
    }
    for (out_dim, in_dim, group) in [
        (1, 1, 1),
        (37, 100, 100),
        (64, 128, 128),
        (65, 129, 129),
        (130, 1000, 1000),
        (200, 1408, 1408),
        (67, 384, 128),
        (96, 768, 256),
        (24, 1280, 256),
    ] {
        for rows in [1, 4, 33, 127, 130, 261] {
            check(out_dim, in_dim, group, rows, None);
        }
    }
    for fill in [1, -1] {
        check(70, 6912, 6912, 50, Some(fill));
        check(70, 6912, 256, 50, Some(fill));
    }
}
