// Where a matrix product goes, one sum at a time: see lib/gemm.wgsl.
#import "lib/grid.wgsl"

@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (M, N), or (splits, M, N)

fn store(split: u32, row: u32, column: u32, value: f32) {
  if (row < M && column < N) {
    let at = split * ITEM_OUT + row * N + column;
    if (ACCUMULATE) {
      out[at] += value;
    } else {
      out[at] = value;
    }
  }
}

fn store_quad(split: u32, row: u32, column: u32, values: vec4<f32>) {
  store(split, row, column, values.x);
  store(split, row, column + 1u, values.y);
  store(split, row, column + 2u, values.z);
  store(split, row, column + 3u, values.w);
}
