// Whether this browser has WebAssembly's relaxed SIMD, and which build of a worker is the one for it. A script that a service worker
// can import, too: both must mean the same file.
//
// The instruction in question is run, not only validated: V8 had it overwrite its third operand, in code not yet optimised.
{
  // (func (export "f") (param i32 i32 i32) (result i32)): lane 0 of i32x4.relaxed_dot_i8x16_i7x16_add_s, every operand in all lanes.
  const code = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 127, 127, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 22, 1, 20, 0,
    32, 0, 253, 15, 32, 1, 253, 15, 32, 2, 253, 17, 253, 147, 2, 253, 27, 0, 11,
  ]);
  const run = () => new WebAssembly.Instance(new WebAssembly.Module(code)).exports.f(-128, 127, 5);
  const relaxed = WebAssembly.validate(code) && run() === 4 * -128 * 127 + 5;
  // The full worker has one build.
  self.build = (program) => (relaxed && program === "worker" ? "worker-relaxed" : program);
}
