// Output of a matrix product.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(5) var<storage, read_write> out: array<f32>; // (ROWS, OUT_DIM)

// Store the result for token row r and weight row `row` of the bound part.
fn store(r: u32, row: u32, value: f32) {
  if (row < WEIGHT_ROWS) {
    out[r * OUT_DIM + FIRST_ROW + row] = value;
  }
}
