#import "lib/run_params.wgsl"
// Token rows the operation is recorded for, of which a run computes the first `run_params.rows`.
override ROWS: u32;

fn active_rows() -> u32 {
  return min(ROWS, run_params.rows);
}
