// Operands of a matrix product of any shape, read an element at a time: see lib/gemm.wgsl.
#import "lib/gemm.wgsl"
#import "lib/patch.wgsl"

fn a_patch(row: u32, k: u32) -> Patch {
  return Patch(narrow_a(a_quad(row, k)), narrow_a(a_quad(row, k + 1u)), narrow_a(a_quad(row, k + 2u)), narrow_a(a_quad(row, k + 3u)));
}

fn b_patch(column: u32, k: u32) -> Patch {
  return Patch(narrow_b(b_quad(k, column)), narrow_b(b_quad(k + 1u, column)), narrow_b(b_quad(k + 2u, column)), narrow_b(b_quad(k + 3u, column)));
}
