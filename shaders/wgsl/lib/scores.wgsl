// What attention makes of the products of queries and keys: SCALE · q·k, and of that SOFTCAP ·
// tanh(… / SOFTCAP) unless SOFTCAP is 0. A query sees the WINDOW keys up to its own, all if it is
// 0.
#import "lib/softcap.wgsl"

override SCALE: f32;
override WINDOW: u32;

// The first key that the query at `position` sees.
fn oldest_key(position: u32) -> u32 {
  return select(0u, position + 1u - WINDOW, WINDOW > 0u && position >= WINDOW);
}
