// Operands of a matrix product that are stored in f32.
alias StoredA = f32;
alias StoredB = f32;

const HALF_A: bool = false;
const HALF_B: bool = false;
