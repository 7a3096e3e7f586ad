// The largest f16.
const LARGEST: f32 = 65504.0;
