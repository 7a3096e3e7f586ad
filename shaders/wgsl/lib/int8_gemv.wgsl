// y = x_scale · Σ_group scale · Σ code·x for a few rows of int8 activations: integer sums, exact.
// The weight mode supplies `accumulate`; `codes` and `row_scales` are lib/stored_codes.wgsl's or
// lib/own_codes.wgsl's.
#import "lib/dots.wgsl"

// Sums of rows with several scales are already scaled.
override FLOAT_SUMS: bool = GROUPED;

// Add the products of four weight rows; `by` are their scales, used when rows have several.
fn add(sum: vec4<i32>, products: vec4<i32>, by: vec4<f32>) -> vec4<i32> {
  if (GROUPED) {
    return bitcast<vec4<i32>>(bitcast<vec4<f32>>(sum) + vec4<f32>(products) * by);
  }
  return sum + products;
}

fn group_scales(row: u32, col: u32) -> vec4<f32> {
  if (GROUPED) {
    return scales4(row, col);
  }
  return vec4<f32>();
}

fn scaled(r: u32, row: u32, sum: i32) -> f32 {
  if (GROUPED) {
    return bitcast<f32>(sum) * row_scales[r];
  }
  return f32(sum) * weight_scale(FIRST_ROW + row, 0u) * row_scales[r];
}
