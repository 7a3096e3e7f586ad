// A dispatch is at most 65535 workgroups wide: long one-dimensional grids are folded into x and y.
fn flat_workgroup(workgroup: vec3<u32>, grid: vec3<u32>) -> u32 {
  return workgroup.y * grid.x + workgroup.x;
}
