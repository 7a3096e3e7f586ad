// Repetition penalty (Keskar et al. 2019): logits of the first `recent` ids are divided by the
// penalty if positive and multiplied if not, once. One invocation per id.
#import "lib/run_params.wgsl"

@group(0) @binding(1) var<storage, read> recent: array<u32>;       // (CAPACITY)
@group(0) @binding(2) var<storage, read_write> logits: array<f32>; // (VOCAB)

override CAPACITY: u32;
override VOCAB: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= min(CAPACITY, run_params.recent)) {
    return;
  }
  let token = recent[id.x];
  var first = token < VOCAB;
  for (var i = 0u; i < id.x; i++) {
    first = first && recent[i] != token;
  }
  if (first) {
    let logit = logits[token];
    logits[token] = select(logit * run_params.repetition_penalty, logit / run_params.repetition_penalty, logit > 0.0);
  }
}
