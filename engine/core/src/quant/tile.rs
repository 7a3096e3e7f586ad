//! The run-time weight layout, the same on every backend.
//!
//! A *tile* is 32 bytes of one row. Four consecutive rows are interleaved tile by tile into a *tile
//! group* of 128 bytes: `[ceil(out/4)][tiles][4 rows][32 bytes]`; the rows of a ragged last group
//! hold zeros (ternary) or are ignored.
//! - **Ternary**: 128 weights. Byte j holds weights j, j+32, j+64, j+96 at bits 0, 2, 4, 6; codes
//!   0, 1, 2 = −1, 0, +1.
//! - **Binary**: 256 weights. Byte j holds weights j + 32g at bit g; 0 = −1, 1 = +1.
//! - **EightBit**: row-major int8 `[out, stride]`, stride = in rounded up to 128.
//! - **F16**: row-major binary16 `[out, stride]`, stride = in rounded up to 32.
//! - **F32**: row-major `[out, in]`.
//!
//! Columns past `in_dim` are zero weights (binary: −1) and meet zero activations: int8 activations
//! are padded with zeros to [`act_stride`].

use crate::config::QuantMode;

/// Rows interleaved in a tile group.
pub const ROWS: usize = 4;
/// Bytes of one row's part of a tile group.
pub const TILE_BYTES: usize = 32;

/// Columns of int8 activations in memory for `dim` values: whole tiles of every mode.
#[inline]
pub fn act_stride(dim: usize) -> usize {
    dim.next_multiple_of(256)
}

/// Weights in one tile; for the row-major modes the columns a row is rounded up to.
#[inline]
pub fn tile_cols(mode: QuantMode) -> usize {
    match mode {
        QuantMode::Ternary | QuantMode::EightBit => 128,
        QuantMode::Binary => 256,
        QuantMode::F16 => 32,
        QuantMode::F32 => 1,
    }
}

/// Tiles per row (ternary, binary).
#[inline]
pub fn tiles(mode: QuantMode, in_dim: usize) -> usize {
    in_dim.div_ceil(tile_cols(mode))
}

/// Columns in memory of a row-major mode.
#[inline]
pub fn row_stride(mode: QuantMode, in_dim: usize) -> usize {
    in_dim.next_multiple_of(tile_cols(mode))
}

/// Type of a buffer's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// 4 bytes.
    F32,
    /// 4 bytes: packed codes.
    U32,
    /// 2 bytes.
    F16,
    /// One byte: a code.
    I8,
}

impl Elem {
    /// Of one element.
    pub fn bytes(self) -> usize {
        match self {
            Elem::F32 | Elem::U32 => 4,
            Elem::F16 => 2,
            Elem::I8 => 1,
        }
    }
}

/// Element type and count of a weight's data buffer.
pub fn data_len(mode: QuantMode, out_dim: usize, in_dim: usize) -> (Elem, usize) {
    match mode {
        QuantMode::F32 => (Elem::F32, out_dim * in_dim),
        QuantMode::F16 => (Elem::F16, out_dim * row_stride(mode, in_dim)),
        QuantMode::EightBit => (Elem::I8, out_dim * row_stride(mode, in_dim)),
        QuantMode::Ternary | QuantMode::Binary => (
            Elem::U32,
            out_dim.div_ceil(ROWS) * tiles(mode, in_dim) * ROWS * TILE_BYTES / 4,
        ),
    }
}

/// Bytes of a weight's data buffer.
pub fn data_bytes(mode: QuantMode, out_dim: usize, in_dim: usize) -> usize {
    let (elem, len) = data_len(mode, out_dim, in_dim);
    elem.bytes() * len
}

/// Whether rows of this mode lie in a buffer as a file holds them: row after row, without padding.
pub fn rows_are_dense(mode: QuantMode, in_dim: usize) -> bool {
    !matches!(mode, QuantMode::Ternary | QuantMode::Binary) && row_stride(mode, in_dim) == in_dim
}

fn tile_offset(tiles: usize, row: usize, tile: usize) -> usize {
    ((row / ROWS * tiles + tile) * ROWS + row % ROWS) * TILE_BYTES
}

/// Writes rows of codes into tiles; rows may come in any order, one at a time, so that a file is
/// expanded without a second copy.
#[derive(Debug)]
pub struct TileWriter<B> {
    mode: QuantMode,
    in_dim: usize,
    out_dim: usize,
    bytes: B,
}

impl TileWriter<Vec<u8>> {
    /// Into memory of its own, all codes 0 at first.
    pub fn new(mode: QuantMode, out_dim: usize, in_dim: usize) -> Self {
        let bytes = vec![0; data_bytes(mode, out_dim, in_dim)];
        TileWriter::over(mode, out_dim, in_dim, bytes)
    }
}

impl<B: AsMut<[u8]>> TileWriter<B> {
    /// Into `bytes`, [`data_bytes`] of them, whatever they held. A whole number of tile groups may
    /// be a part of a larger weight.
    pub fn over(mode: QuantMode, out_dim: usize, in_dim: usize, mut bytes: B) -> Self {
        assert!(bytes.as_mut().len() == data_bytes(mode, out_dim, in_dim));
        // A zero ternary weight is code 1 in each field.
        let fill = if mode == QuantMode::Ternary { 0x55 } else { 0 };
        bytes.as_mut().fill(fill);
        TileWriter {
            mode,
            in_dim,
            out_dim,
            bytes,
        }
    }

    /// Store row `row`: −1, 0, +1 (ternary), −1, +1 (binary; 0 counts as −1) or int8.
    pub fn row(&mut self, row: usize, codes: &[i8]) {
        assert!(row < self.out_dim && codes.len() == self.in_dim);
        let bytes = self.bytes.as_mut();
        match self.mode {
            QuantMode::Ternary => {
                let tiles = tiles(self.mode, self.in_dim);
                for (t, part) in codes.chunks(128).enumerate() {
                    let at = tile_offset(tiles, row, t);
                    let tile = &mut bytes[at..at + TILE_BYTES];
                    for (i, &c) in part.iter().enumerate() {
                        let shift = 2 * (i / 32);
                        let byte = &mut tile[i % 32];
                        *byte = (*byte & !(3 << shift)) | (((c + 1) as u8) << shift);
                    }
                }
            }
            QuantMode::Binary => {
                let tiles = tiles(self.mode, self.in_dim);
                for (t, part) in codes.chunks(256).enumerate() {
                    let at = tile_offset(tiles, row, t);
                    let tile = &mut bytes[at..at + TILE_BYTES];
                    for (i, &c) in part.iter().enumerate() {
                        tile[i % 32] |= u8::from(c > 0) << (i / 32);
                    }
                }
            }
            QuantMode::EightBit => {
                let stride = row_stride(self.mode, self.in_dim);
                let line = &mut bytes[row * stride..row * stride + codes.len()];
                line.copy_from_slice(bytemuck::cast_slice(codes));
            }
            QuantMode::F32 | QuantMode::F16 => unreachable!("floats are stored by row_floats"),
        }
    }

    /// Store row `row` of a ternary weight from a file's 2-bit codes (4 a byte; 00 = 0, 01 = +1, 11
    /// = −1), whole tiles at a time.
    ///
    /// # Errors
    /// The first byte with the invalid code 10.
    pub fn row_ternary2(&mut self, row: usize, bytes: &[u8]) -> Result<(), u8> {
        assert!(self.mode == QuantMode::Ternary && bytes.len() == self.in_dim.div_ceil(4));
        let tiles = tiles(self.mode, self.in_dim);
        for (t, part) in bytes.chunks(TILE_BYTES).enumerate() {
            let mut codes = [0u8; TILE_BYTES];
            codes[..part.len()].copy_from_slice(part);
            // Bits behind the last weight mean nothing.
            if t + 1 == tiles && !self.in_dim.is_multiple_of(4) {
                codes[part.len() - 1] &= (1 << (2 * (self.in_dim % 4))) - 1;
            }
            if let Some(bad) = codes.iter().find(|b| (**b >> 1) & !**b & 0x55 != 0) {
                return Err(*bad);
            }
            let at = tile_offset(tiles, row, t);
            let tile = self.bytes.as_mut()[at..at + TILE_BYTES]
                .as_chunks_mut::<4>()
                .0;
            for (a, out) in tile.iter_mut().enumerate() {
                let mut x =
                    u32::from_le_bytes([codes[a], codes[8 + a], codes[16 + a], codes[24 + a]]);
                // Code + 1 in every field of two bits.
                let (low, high) = (x & 0x5555_5555, x >> 1 & 0x5555_5555);
                x = (low ^ 0x5555_5555) | (high ^ low) << 1;
                // The 4 × 4 fields transposed: weight 32g + 4a + k goes from byte g, field k to
                // byte k, field g.
                let t = (x ^ x >> 6) & 0x00cc_00cc;
                x ^= t ^ t << 6;
                let t = (x ^ x >> 12) & 0x0000_f0f0;
                x ^= t ^ t << 12;
                *out = x.to_le_bytes();
            }
        }
        Ok(())
    }

    /// Store row `row` of a float weight from its little-endian bytes, binary16 or f32 as its mode
    /// is.
    pub fn row_floats(&mut self, row: usize, values: &[u8]) {
        let (elem, _) = data_len(self.mode, 1, self.in_dim);
        assert!(!self.mode.is_quantized() && values.len() == elem.bytes() * self.in_dim);
        let stride = data_bytes(self.mode, 1, self.in_dim);
        self.bytes.as_mut()[row * stride..row * stride + values.len()].copy_from_slice(values);
    }

    /// The buffer, as kernels read it.
    pub fn finish(self) -> B {
        self.bytes
    }
}

/// Read row `row` back as codes (the inverse of [`TileWriter::row`]).
pub fn read_row(mode: QuantMode, data: &[u8], in_dim: usize, row: usize, codes: &mut [i8]) {
    assert!(codes.len() == in_dim);
    match mode {
        QuantMode::Ternary => read_tiles::<2>(mode, data, in_dim, row, codes),
        QuantMode::Binary => read_tiles::<1>(mode, data, in_dim, row, codes),
        QuantMode::EightBit => {
            let stride = row_stride(mode, in_dim);
            codes.copy_from_slice(bytemuck::cast_slice(
                &data[row * stride..row * stride + in_dim],
            ));
        }
        QuantMode::F32 | QuantMode::F16 => unreachable!("floats have no codes"),
    }
}

/// Tile by tile and field by field, as loops that vectorize.
fn read_tiles<const BITS: usize>(
    mode: QuantMode,
    data: &[u8],
    in_dim: usize,
    row: usize,
    codes: &mut [i8],
) {
    let tiles = tiles(mode, in_dim);
    for (t, codes) in codes.chunks_mut(tile_cols(mode)).enumerate() {
        let tile = &data[tile_offset(tiles, row, t)..][..TILE_BYTES];
        for (field, codes) in codes.chunks_mut(TILE_BYTES).enumerate() {
            for (code, byte) in codes.iter_mut().zip(tile) {
                let bits = (byte >> (BITS * field)) & ((1 << BITS) - 1);
                *code = match BITS {
                    2 => bits as i8 - 1,
                    _ => 2 * bits as i8 - 1,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_codes_become_the_same_tiles() {
        for cols in [1usize, 3, 4, 65, 127, 128, 129, 300, 512] {
            let codes: Vec<i8> = (0..cols).map(|i| (i * i / 3 % 3) as i8 - 1).collect();
            let mut packed = vec![0u8; cols.div_ceil(4)];
            for (i, c) in codes.iter().enumerate() {
                packed[i / 4] |= (*c as u8 & 3) << (2 * (i % 4));
            }
            let mut slow = TileWriter::new(QuantMode::Ternary, 3, cols);
            slow.row(1, &codes);
            let slow = slow.finish();
            let mut fast = TileWriter::new(QuantMode::Ternary, 3, cols);
            fast.row_ternary2(1, &packed).unwrap();
            assert_eq!(fast.finish(), slow);
            if !cols.is_multiple_of(4) {
                // Bits behind the last weight.
                *packed.last_mut().unwrap() |= 0x80;
                let mut fast = TileWriter::new(QuantMode::Ternary, 3, cols);
                fast.row_ternary2(1, &packed).unwrap();
                assert_eq!(fast.finish(), slow);
            }
            packed[0] = 0x02;
            let mut fast = TileWriter::new(QuantMode::Ternary, 3, cols);
            assert_eq!(fast.row_ternary2(1, &packed), Err(2));
        }
    }

    proptest! {
        #[test]
        fn rows_survive_the_tile(out in 1usize..10, cols in prop::sample::select(vec![1usize, 3, 65, 127, 128, 129, 256, 257, 300]), seed in any::<u64>()) {
            for mode in [QuantMode::Ternary, QuantMode::Binary, QuantMode::EightBit] {
                let mut state = seed | 1;
                let rows: Vec<Vec<i8>> = (0..out).map(|_| (0..cols).map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let r = (state >> 33) as i64;
                    match mode {
                        QuantMode::Ternary => (r % 3) as i8 - 1,
                        QuantMode::Binary => (r % 2) as i8 * 2 - 1,
                        _ => (r % 255 - 127) as i8,
                    }
                }).collect()).collect();
                let mut writer = TileWriter::new(mode, out, cols);
                for (r, row) in rows.iter().enumerate().rev() { writer.row(r, row); }
                let data = writer.finish();
                let mut back = vec![0i8; cols];
                for (r, row) in rows.iter().enumerate() {
                    read_row(mode, &data, cols, r, &mut back);
                    prop_assert_eq!(&back, row);
                }
            }
        }
    }
}
