// Cooperative matrices of 16 × 16. Workgroup memory is written and read in vectors of four.
const SIDE: u32 = 16u;
const CELL: u32 = 4u; // elements

alias Cell = vec4<f16>;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

fn put_left(at: u32, quad: vec4<f16>) {
  left[at / CELL] = quad;
}

fn put_right(at: u32, quad: vec4<f16>) {
  right[at / CELL] = quad;
}
