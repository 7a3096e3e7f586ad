// f32 activations.
@group(0) @binding(3) var<storage, read> x: array<f32>; // (ROWS, IN_DIM)

// Columns 4·word .. 4·word + 3 of row r, zeros past the end.
fn input_quad(r: u32, word: u32) -> vec4<f32> {
  let col = 4u * word;
  let at = r * IN_DIM + col;
  if (col + 3u < IN_DIM) {
    return vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
  }
  var quad = vec4<f32>();
  if (col < IN_DIM) { quad.x = x[at]; }
  if (col + 1u < IN_DIM) { quad.y = x[at + 1u]; }
  if (col + 2u < IN_DIM) { quad.z = x[at + 2u]; }
  return quad;
}
