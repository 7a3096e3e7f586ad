// Where rows stand that belong to several sequences (PLACED): `places` holds, for every row, its
// position in its sequence and where that sequence's table begins in `places`; a table names the
// page of positions 0.., PAGE.. and so on. Otherwise rows follow each other from run_params.pos on.
#import "lib/rows.wgsl"

@group(0) @binding(7) var<storage, read> places: array<u32>; // (ROWS, 2), then tables; unread unless PLACED

const PAGE: u32 = 32u;

override PLACED: bool = false;

// The position of row r of sequences of `seq` rows.
fn row_position(r: u32, seq: u32) -> u32 {
  if (PLACED) {
    return places[2u * r];
  }
  return run_params.pos + r % seq;
}

// Where the caches hold position t of row r's sequence.
fn cached_row(r: u32, t: u32) -> u32 {
  if (PLACED) {
    return places[places[2u * r + 1u] + t / PAGE] * PAGE + t % PAGE;
  }
  return t;
}
