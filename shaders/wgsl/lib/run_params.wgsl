// The per-run parameters; mirrors `program::RunParams`.
struct RunParams {
  pos: u32,
  rows: u32,
  recent: u32,
  repetition_penalty: f32,
  grad_scale: f32,
  anneal: f32,
  arenas: f32,
  lr: f32,
  weight_decay: f32,
  bias1: f32,
  bias2: f32,
  seed: u32,
  momentum: f32,
  float_share: f32,
  temperature: f32,
  top_k: u32,
  top_p: f32,
  draw: f32,
  reserved0: u32,
  reserved1: u32,
}

@group(0) @binding(0) var<uniform> run_params: RunParams;
