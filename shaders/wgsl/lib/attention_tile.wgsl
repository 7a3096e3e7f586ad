// Whole-sequence causal attention in tiles of 32 × 32 scores, after FlashAttention (Dao et al.
// 2022): scores are computed tile by tile and never stored. A workgroup of 64 invocations owns 32
// positions of one head (`rows`) and goes through the tiles of the other side (`columns`); an
// invocation holds 4 × 4 scores, each vec4 over its four rows. A head's matrix is (SEQ, HEAD_DIM)
// with HEADS (or KV_HEADS) of them side by side in a token's row. The results are computed for 64
// columns of the head at a time, wider heads by several workgroups in z. The operation supplies
// `row_element` and `column_element` (with a `which`, to compute more than one product),
// `value_element` for what the scores multiply, and `store`. With DOCUMENTS a sequence holds
// several, one behind the other, and a query sees its own only.
#import "lib/grid.wgsl"
#import "lib/scores.wgsl"

@group(0) @binding(7) var<storage, read> positions: array<u32>; // (BATCH, SEQ) in the documents; unread unless DOCUMENTS

override DOCUMENTS: bool;
override BATCH: u32;
override SEQ: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;

const TILE: u32 = 32u;
const STEP: u32 = 16u;       // of HEAD_DIM, for scores; of columns, for results
const QUADS: u32 = 8u;       // of a tile
const QUAD_STRIDE: u32 = 9u; // one more: neighbors along the other side meet different banks
const BLOCK: u32 = 64u;      // columns of a head per workgroup
// Quads of a block that the head has: a narrow one fills half of it.
override USED_QUADS: u32 = select(16u, QUADS, HEAD_DIM <= TILE);
const LOWEST: f32 = -3e38;

// Where the heads at work begin, see `head_start`.
var<private> q_start: u32;
var<private> kv_start: u32;

var<workgroup> row_tile: array<vec4<f32>, 144>;    // (STEP, QUAD_STRIDE)
var<workgroup> column_tile: array<vec4<f32>, 144>; // (STEP, QUAD_STRIDE)
var<workgroup> weight_tile: array<vec4<f32>, 288>; // (TILE columns, QUAD_STRIDE)
var<workgroup> value_tile: array<vec4<f32>, 256>;  // (STEP columns, USED_QUADS)

// Index of a head's first element at position 0 of a sequence, and the distance to the next
// position.
fn head_start(batch: u32, head: u32, heads: u32) -> u32 {
  return (batch * SEQ * heads + head) * HEAD_DIM;
}

// What a workgroup owns: 32 positions of one of `heads` heads, and 64 columns of the results. There
// may be more workgroups than tiles: `batch` is then BATCH or more.
struct Tile {
  batch: u32,
  head: u32,
  first_row: u32,
  block: u32,
}

fn own_tile(workgroup: vec3<u32>, grid: vec3<u32>, heads: u32) -> Tile {
  let tiles = (SEQ + TILE - 1u) / TILE;
  let item = flat_workgroup(workgroup, grid);
  return Tile(item / (heads * tiles), item / tiles % heads, item % tiles * TILE, workgroup.z * BLOCK);
}

// e^d, for d of at most a little above 0; not by `max`, which would swallow a NaN.
fn shrink(d: vec4<f32>) -> vec4<f32> {
  return exp(select(d, vec4<f32>(-87.0), d < vec4<f32>(-87.0)));
}

// Products of rows row.. and columns column..: [i] is vec4 over the invocation's rows at its column
// i.
fn tile_product(which: u32, row: u32, column: u32, lane: u32) -> mat4x4<f32> {
  var s0 = vec4<f32>();
  var s1 = vec4<f32>();
  var s2 = vec4<f32>();
  var s3 = vec4<f32>();
  let load_d = lane % STEP;
  for (var step = 0u; step < HEAD_DIM; step += STEP) {
    workgroupBarrier();
    let d = step + load_d;
    for (var quad = lane / STEP; quad < QUADS; quad += 4u) {
      var rows = vec4<f32>();
      var columns = vec4<f32>();
      if (d < HEAD_DIM) {
        let r = row + 4u * quad;
        let c = column + 4u * quad;
        rows = vec4<f32>(row_element(which, r, d), row_element(which, r + 1u, d), row_element(which, r + 2u, d), row_element(which, r + 3u, d));
        columns = vec4<f32>(column_element(which, c, d), column_element(which, c + 1u, d), column_element(which, c + 2u, d), column_element(which, c + 3u, d));
      }
      row_tile[load_d * QUAD_STRIDE + quad] = rows;
      column_tile[load_d * QUAD_STRIDE + quad] = columns;
    }
    workgroupBarrier();
    for (var k = 0u; k < STEP; k++) {
      let x = row_tile[k * QUAD_STRIDE + lane / QUADS];
      let y = column_tile[k * QUAD_STRIDE + lane % QUADS];
      s0 += x * y.x;
      s1 += x * y.y;
      s2 += x * y.z;
      s3 += x * y.w;
    }
  }
  return mat4x4<f32>(s0, s1, s2, s3);
}

fn capped_quad(scores: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(capped(scores.x), capped(scores.y), capped(scores.z), capped(scores.w));
}

// Scores of products.
fn scores_of(products: mat4x4<f32>) -> mat4x4<f32> {
  let scaled = SCALE * products;
  if (SOFTCAP == 0.0) {
    return scaled;
  }
  return mat4x4<f32>(capped_quad(scaled[0]), capped_quad(scaled[1]), capped_quad(scaled[2]), capped_quad(scaled[3]));
}

// Where the document of the query at t of a sequence begins.
fn document_start(batch: u32, t: u32) -> u32 {
  if (!DOCUMENTS || t >= SEQ) {
    return 0u;
  }
  return t - positions[batch * SEQ + t];
}

// The same of t and the three queries behind it.
fn document_starts(batch: u32, t: u32) -> vec4<u32> {
  return vec4<u32>(document_start(batch, t), document_start(batch, t + 1u), document_start(batch, t + 2u), document_start(batch, t + 3u));
}

// Which keys their queries see, of documents that begin at `starts`.
fn seen(keys: vec4<u32>, queries: vec4<u32>, starts: vec4<u32>) -> vec4<bool> {
  let own = (keys <= queries) & (keys >= starts);
  if (WINDOW == 0u) {
    return own;
  }
  return own & (queries - min(keys, queries) < vec4<u32>(WINDOW));
}

// The first tile with a key that a query at `position` or later sees.
fn oldest_tile(batch: u32, position: u32) -> u32 {
  return max(oldest_key(position), document_start(batch, position)) / TILE * TILE;
}

// Results of one invocation: its four rows at columns 4·(lane % 8) .. + 3 and 32 further of the
// block.
struct Results {
  low: mat4x4<f32>,
  high: mat4x4<f32>,
}

// Adds weights · values of columns column .. column + 31, the weights laid out like scores.
fn add_products(results: ptr<function, Results>, weights: mat4x4<f32>, column: u32, block: u32, lane: u32) {
  let at = 4u * (lane % QUADS) * QUAD_STRIDE + lane / QUADS;
  weight_tile[at] = weights[0];
  weight_tile[at + QUAD_STRIDE] = weights[1];
  weight_tile[at + 2u * QUAD_STRIDE] = weights[2];
  weight_tile[at + 3u * QUAD_STRIDE] = weights[3];
  for (var half = 0u; half < TILE; half += STEP) {
    workgroupBarrier();
    for (var item = lane; item < STEP * USED_QUADS; item += 64u) {
      let c = column + half + item / USED_QUADS;
      let d = block + item % USED_QUADS * 4u;
      value_tile[item] = vec4<f32>(value_element(c, d), value_element(c, d + 1u), value_element(c, d + 2u), value_element(c, d + 3u));
    }
    workgroupBarrier();
    for (var k = 0u; k < STEP; k++) {
      let w = weight_tile[(half + k) * QUAD_STRIDE + lane / QUADS];
      let x = value_tile[k * USED_QUADS + lane % QUADS];
      (*results).low += mat4x4<f32>(w * x.x, w * x.y, w * x.z, w * x.w);
      if (USED_QUADS > QUADS) {
        let y = value_tile[k * USED_QUADS + QUADS + lane % QUADS];
        (*results).high += mat4x4<f32>(w * y.x, w * y.y, w * y.z, w * y.w);
      }
    }
  }
}

fn store_column(row: u32, d: u32, values: vec4<f32>) {
  if (d < HEAD_DIM) {
    store(row, d, values.x);
    store(row + 1u, d, values.y);
    store(row + 2u, d, values.z);
    store(row + 3u, d, values.w);
  }
}

// The invocation's results, its first row being `row`.
fn store_results(low: mat4x4<f32>, high: mat4x4<f32>, row: u32, block: u32, lane: u32) {
  let d = block + 4u * (lane % QUADS);
  store_column(row, d, low[0]);
  store_column(row, d + 1u, low[1]);
  store_column(row, d + 2u, low[2]);
  store_column(row, d + 3u, low[3]);
  store_column(row, d + TILE, high[0]);
  store_column(row, d + TILE + 1u, high[1]);
  store_column(row, d + TILE + 2u, high[2]);
  store_column(row, d + TILE + 3u, high[3]);
}

// Every column of m times factors by row.
fn scale_rows(m: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(m[0] * factors, m[1] * factors, m[2] * factors, m[3] * factors);
}
