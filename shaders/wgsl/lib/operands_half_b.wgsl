// Operands of a matrix product of which the right one is stored in f16.
alias StoredA = f32;
alias StoredB = f16;

const HALF_A: bool = false;
const HALF_B: bool = true;
