// Operands of a matrix product that are stored in f16, a gradient as lib/gemm_f16.wgsl takes it.
alias StoredA = f16;
alias StoredB = f16;

const HALF_A: bool = true;
const HALF_B: bool = true;
