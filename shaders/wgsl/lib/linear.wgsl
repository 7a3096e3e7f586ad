// Output of a matrix product, stored or, with ACCUMULATE, added to what is there: out += SCALE ·
// product. A weight may be two or three matrices, one below the other: their results then lie one
// behind the other, each (ROWS, its own rows), from its first weight row CUT1 or CUT2 on.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(5) var<storage, read_write> out: array<f32>; // (ROWS, OUT_DIM)

override ACCUMULATE: bool;
override SCALE: f32;
override CUT1: u32 = OUT_DIM;
override CUT2: u32 = OUT_DIM;

fn out_at(r: u32, row: u32) -> u32 {
  if (row >= CUT2) {
    return ROWS * CUT2 + r * (OUT_DIM - CUT2) + row - CUT2;
  }
  if (row >= CUT1) {
    return ROWS * CUT1 + r * (CUT2 - CUT1) + row - CUT1;
  }
  return r * CUT1 + row;
}

// The result for token row r and weight row `row` of the bound part.
fn store(r: u32, row: u32, value: f32) {
  if (row >= WEIGHT_ROWS) {
    return;
  }
  let at = out_at(r, FIRST_ROW + row);
  if (ACCUMULATE) {
    out[at] += SCALE * value;
  } else {
    out[at] = value;
  }
}
