//! Every type against what other programs read from it, and the low-bit ones bit by bit.

use std::path::Path;

use super::*;

/// Largest error of a value, relative to it or to 1.
const TOLERANCE: f32 = 1e-6;

fn close(storage: Storage, found: &[f32], want: &[f32]) {
    assert!(!want.is_empty() && found.len() == want.len(), "{storage:?}");
    for (i, (a, b)) in found.iter().zip(want).enumerate() {
        let error = (a - b).abs() / b.abs().max(1.0);
        assert!(error <= TOLERANCE, "{storage:?}: value {i} is {a}, not {b}");
    }
}

/// The types that GGUF files have, but for plain ones and I2_S, which has no blocks.
const BLOCKS: [(Storage, &str); 20] = [
    (Storage::Bf16, "BF16"),
    (Storage::Q4_0, "Q4_0"),
    (Storage::Q4_1, "Q4_1"),
    (Storage::Q5_0, "Q5_0"),
    (Storage::Q5_1, "Q5_1"),
    (Storage::Q8_0, "Q8_0"),
    (Storage::Q2K, "Q2_K"),
    (Storage::Q3K, "Q3_K"),
    (Storage::Q4K, "Q4_K"),
    (Storage::Q5K, "Q5_K"),
    (Storage::Q6K, "Q6_K"),
    (Storage::Iq4Nl, "IQ4_NL"),
    (Storage::Iq4Xs, "IQ4_XS"),
    (Storage::Mxfp4, "MXFP4"),
    (Storage::Tq1_0, "TQ1_0"),
    (Storage::Tq2_0, "TQ2_0"),
    (Storage::Q1_0, "Q1_0"),
    (Storage::Q2_0, "Q2_0"),
    (Storage::Pq2_0, "PQ2_0"),
    (Storage::Ptq1_0, "PTQ1_0"),
];

#[test]
fn every_type_is_read_as_the_gguf_package_reads_it() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf/blocks.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 2 * BLOCKS.len());
    for (storage, name) in BLOCKS {
        let blocks = file.tensor(&format!("{name}.blocks")).unwrap();
        let values = file.tensor(&format!("{name}.values")).unwrap();
        let values = values.data().as_chunks::<4>().0.iter();
        let want: Vec<f32> = values.map(|b| f32::from_le_bytes(*b)).collect();
        let size = storage.bytes(1, want.len() as u64);
        assert_eq!(size, Some(blocks.data().len() as u64), "{name}");
        let mut found = vec![0.0; want.len()];
        storage.read_floats(blocks.data(), &mut found).unwrap();
        close(storage, &found, &want);
    }
}

/// A matrix that candle quantizes is what candle reads from it.
#[test]
fn ordinary_blocks_are_read_as_candle_reads_them() {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    let (rows, cols) = (3, 512);
    let values: Vec<f32> = (0..rows * cols)
        .map(|i| ((i * 37 % 1009) as f32 / 504.5 - 1.0) * (1 + i % 5) as f32)
        .collect();
    let tensor = Tensor::from_vec(values.clone(), (rows, cols), &Device::Cpu).unwrap();
    for (storage, dtype) in [
        (Storage::F16, GgmlDType::F16),
        (Storage::Q8_0, GgmlDType::Q8_0),
        (Storage::Q4_0, GgmlDType::Q4_0),
        (Storage::Q4_1, GgmlDType::Q4_1),
        (Storage::Q5_0, GgmlDType::Q5_0),
        (Storage::Q5_1, GgmlDType::Q5_1),
        (Storage::Q2K, GgmlDType::Q2K),
        (Storage::Q3K, GgmlDType::Q3K),
        (Storage::Q4K, GgmlDType::Q4K),
        (Storage::Q5K, GgmlDType::Q5K),
        (Storage::Q6K, GgmlDType::Q6K),
    ] {
        let q = QTensor::quantize(&tensor, dtype).unwrap();
        let want = q.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
        let want = want.to_vec1::<f32>().unwrap();
        let bytes = q.data().unwrap();
        let size = storage.bytes(rows as u64, cols as u64);
        assert_eq!(size, Some(bytes.len() as u64));
        let mut found = vec![0.0; rows * cols];
        storage.read_floats(&bytes, &mut found).unwrap();
        close(storage, &found, &want);
        let square = |v: f32| f64::from(v) * f64::from(v);
        let error: f64 = found.iter().zip(&values).map(|(a, b)| square(a - b)).sum();
        let size: f64 = values.iter().map(|v| square(*v)).sum();
        assert!((error / size).sqrt() < 0.5, "{storage:?}");
    }
}

#[test]
fn ternary_blocks_have_their_published_layout() {
    // Tq2_0: element 200 is in byte 32 + 200 % 32, bits 2·(200 % 128 / 32).
    let mut block = [0x55u8; 66];
    block[32 + 200 % 32] = 0x55 & !(3 << 4) | 2 << 4;
    block[64..].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
    let read = Storage::Tq2_0.read_codes(&block, 1, 256).unwrap();
    let want = |at: usize| (0..256).map(|e| i8::from(e == at)).collect::<Vec<_>>();
    assert_eq!((read.codes, read.scales), (want(200), vec![0.5]));
    block[0] = 3;
    assert!(
        Storage::Tq2_0
            .read_codes(&block, 1, 256)
            .unwrap_err()
            .contains("code 3")
    );
    // Tq1_0: 121 is five ones, of which digit d is worth 3^(4−d); element 170 is digit 0 of byte 32
    // + 10.
    let encode = |v: u32| (v * 256).div_ceil(243) as u8;
    let mut block = [encode(121); 54];
    block[42] = encode(121 + 81);
    block[48..52].fill(encode(120));
    block[52..].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
    let read = Storage::Tq1_0.read_codes(&block, 1, 256).unwrap();
    assert_eq!((read.codes, read.scales), (want(170), vec![2.0]));
    // I2_S: weight 70 of the second tile is at its byte 6, bits 6 − 2·2.
    let mut bytes = vec![0x55u8; 64 + 32];
    bytes[32 + 6] = 0x55 & !(3 << 2) | 2 << 2;
    bytes[64..68].copy_from_slice(&0.25f32.to_le_bytes());
    let read = Storage::I2S.read_codes(&bytes, 2, 128).unwrap();
    assert_eq!((read.codes, read.scales), (want(128 + 70), vec![0.25]));
    // Q1_0 and Q2_0: natural order behind the scale.
    let mut block = [0u8; 18];
    block[..2].copy_from_slice(&f16::from_f32(3.0).to_le_bytes());
    block[2 + 5] = 1 << 3;
    let read = Storage::Q1_0.read_codes(&block, 1, 128).unwrap();
    assert!(
        read.codes
            .iter()
            .enumerate()
            .all(|(e, c)| *c == if e == 43 { 1 } else { -1 })
    );
    block[2..].fill(0x55);
    block[2 + 5] = 0x55 & !(3 << 6) | 2 << 6;
    let read = Storage::Q2_0.read_codes(&block, 1, 64).unwrap();
    assert_eq!(
        (read.codes, read.scales),
        (want(23)[..64].to_vec(), vec![3.0])
    );
    block[17] = 3;
    assert!(Storage::Q2_0.read_codes(&block, 1, 64).is_err());
    let mut values = [0.0; 64];
    Storage::Q2_0.read_floats(&block, &mut values).unwrap();
    assert_eq!((values[60], values[61]), (6.0, -3.0));
}
