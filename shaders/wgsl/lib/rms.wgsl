// 1 / sqrt(mean(x²) + EPS) of a row.
#import "lib/reduce.wgsl"

override EPS: f32;

fn rstd_from(sum_of_squares: f32, dim: u32) -> f32 {
  return 1.0 / sqrt(sum_of_squares / f32(dim) + EPS);
}

fn rstd_of(lane: u32, sum_of_squares: f32, dim: u32) -> f32 {
  return rstd_from(reduce_sum(lane, sum_of_squares), dim);
}
