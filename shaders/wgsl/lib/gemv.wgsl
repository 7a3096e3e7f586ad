// Matrix times one to MOST_GEMV_ROWS rows of activations, each weight read once for all of them:
// what the forms share. Sixteen lanes take the columns of four weight rows; a lane holds four sums
// for each activation row. Then the lanes' sums are joined by halves (l and l + 8, l and l + 4, …).
// Every form cuts and joins alike, so floats come out the same to the bit. The kind of activations
// supplies `prepare`, which all invocations call first, `accumulate`, `scaled` and FLOAT_SUMS.
#import "lib/linear.wgsl"

const GEMV_LANES: u32 = 16u;
const MOST_GEMV_ROWS: u32 = 8u;

// Sums of four weight rows for each activation row: integers, or with FLOAT_SUMS the bits of
// floats.
struct Sums {
  r0: vec4<i32>,
  r1: vec4<i32>,
  r2: vec4<i32>,
  r3: vec4<i32>,
  r4: vec4<i32>,
  r5: vec4<i32>,
  r6: vec4<i32>,
  r7: vec4<i32>,
}

fn join(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
  if (FLOAT_SUMS) {
    return bitcast<vec4<i32>>(bitcast<vec4<f32>>(a) + bitcast<vec4<f32>>(b));
  }
  return a + b;
}

// Scales of four rows from `row` on at column `col`.
fn scales4(row: u32, col: u32) -> vec4<f32> {
  let first = FIRST_ROW + row;
  return vec4<f32>(weight_scale(first, col), weight_scale(first + 1u, col), weight_scale(first + 2u, col), weight_scale(first + 3u, col));
}

fn store_sum(r: u32, row: u32, sum: i32) {
  if (r < active_rows()) {
    store(r, row, scaled(r, row, sum));
  }
}
