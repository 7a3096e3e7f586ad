// Operands of lib/int8_gemm.wgsl in f16, which holds their codes exactly.
alias Word = vec4<f16>;

struct Words {
  a: Word,
  b: Word,
  c: Word,
  d: Word,
}

const STEP_WORDS: u32 = 8u;

fn expand(bytes: u32) -> Word {
  return Word(bytes_to_f32(bytes));
}
