// Operands of lib/int8_gemm.wgsl as packed bytes, multiplied four at a time.
alias Word = u32;
alias Words = vec4<u32>;
alias Sums = vec4<i32>;

const STEP_WORDS: u32 = 16u;

fn expand(bytes: u32) -> Word {
  return bytes;
}

fn begin(exact: vec4<i32>) -> Sums {
  return exact;
}

fn add(sums: Sums, x: Word, w: Words) -> Sums {
  return sums + vec4<i32>(dot4I8Packed(x, w.x), dot4I8Packed(x, w.y), dot4I8Packed(x, w.z), dot4I8Packed(x, w.w));
}

fn end(exact: vec4<i32>, sums: Sums) -> vec4<i32> {
  return sums;
}
