#import "lib/knobs.wgsl"
// Token rows the operation is recorded for, of which a run computes the first `knobs.rows`.
override ROWS: u32;

fn active_rows() -> u32 {
  return min(ROWS, knobs.rows);
}
