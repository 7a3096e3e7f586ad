// Output of a matrix product, stored or, with ACCUMULATE, added to what is there: out += SCALE ·
// product.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(5) var<storage, read_write> out: array<f32>; // (ROWS, OUT_DIM)

override ACCUMULATE: bool;
override SCALE: f32;

// The result for token row r and weight row `row` of the bound part.
fn store(r: u32, row: u32, value: f32) {
  if (row >= WEIGHT_ROWS) {
    return;
  }
  let at = r * OUT_DIM + FIRST_ROW + row;
  if (ACCUMULATE) {
    out[at] += SCALE * value;
  } else {
    out[at] = value;
  }
}
