//! Round trips, and every kind of damage.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use ternary_common::bytes::{MemorySink, MemorySource};
use ternary_core::config::ModelConfig;
use ternary_core::config::{LayerBitMap, LayerMode, MatrixModes, QuantMode, WeightScale};
use ternary_core::layout::{Encoding, FormatError, MAGIC, Metadata, ScalePer};
use ternary_core::params;

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 300,
        hidden_size: 12,
        num_heads: 2,
        num_layers: 2,
        intermediate_size: 20,
        max_seq_len: 8,
        use_swiglu: true,
        layer_bit_map: Some(LayerBitMap {
            embedding: QuantMode::F16,
            layer_modes: vec![
                LayerMode::Whole(QuantMode::Ternary),
                LayerMode::PerMatrix(MatrixModes {
                    q: QuantMode::Binary,
                    k: QuantMode::EightBit,
                    v: QuantMode::F32,
                    o: QuantMode::Ternary,
                    gate: QuantMode::Binary,
                    up: QuantMode::EightBit,
                    down: QuantMode::Binary,
                }),
            ],
            lm_head: QuantMode::F16,
        }),
        ..ModelConfig::default()
    }
}

fn file(config: ModelConfig, packing: Packing) -> Vec<u8> {
    let values: HashMap<String, Vec<f32>> = params::all(&config)
        .into_iter()
        .map(|p| (p.name.clone(), p.init(&config, 5)))
        .collect();
    let mut metadata = Metadata {
        name: "test".into(),
        config,
        tokenizer: Some("{}".into()),
        ..Metadata::default()
    };
    metadata
        .extra
        .insert("from_the_future".into(), serde_json::json!([1, 2]));
    encode(metadata, &values, packing, Dense::No).unwrap()
}

fn open(bytes: Vec<u8>) -> Result<(OneBit, MemorySource), FormatError> {
    let source = MemorySource::new("memory", bytes);
    pollster::block_on(OneBit::open(&source)).map(|o| (o, source))
}

/// Open and read every tensor.
fn read_all(bytes: Vec<u8>) -> Result<HashMap<String, Vec<i8>>, FormatError> {
    let (one_bit, source) = open(bytes)?;
    let mut all = HashMap::new();
    for t in &one_bit.tensors {
        let encoding = t.encoding()?;
        let cols = *t.shape.last().unwrap() as usize;
        let mut codes = Vec::new();
        let mut take = |rows: TensorRows| {
            for r in 0..rows.bytes.len() / rows.row_bytes {
                if !matches!(encoding, Encoding::F16 | Encoding::F32) {
                    let mut line = vec![0i8; cols];
                    rows.codes(encoding, r, &mut line, &t.name)?;
                    codes.extend(line);
                }
            }
            Ok(())
        };
        pollster::block_on(one_bit.read_tensor(&source, t, &mut take))?;
        all.insert(t.name.clone(), codes);
    }
    Ok(all)
}

#[test]
fn a_file_keeps_everything_in_both_packings() {
    for scale in [WeightScale::None, WeightScale::Tensor, WeightScale::Row] {
        let c = ModelConfig {
            weight_scale: scale,
            ..config()
        };
        let two = read_all(file(c.clone(), Packing::Ternary2)).unwrap();
        assert_eq!(two, read_all(file(c.clone(), Packing::Base3)).unwrap());
        for p in params::all(&c) {
            if let params::ParamKind::Matrix(m) = &p.kind
                && m.mode.is_quantized()
            {
                let want = ternary_core::quant::quantize(&p.init(&c, 5), m.rows, m.cols, &m.quant);
                assert_eq!(two[&p.name], want.codes, "{}", p.name);
            }
        }
    }
    let (one_bit, _) = open(file(config(), Packing::Ternary2)).unwrap();
    assert_eq!(one_bit.metadata.config, config());
    assert_eq!(
        one_bit.metadata.extra["from_the_future"],
        serde_json::json!([1, 2])
    );
    assert!(one_bit.tensors.iter().all(|t| t.offset.is_multiple_of(64)));
}

#[test]
fn scales_of_groups_may_be_f16() {
    let c = ModelConfig {
        hidden_size: 64,
        num_heads: 4,
        num_kv_heads: None,
        intermediate_size: 96,
        weight_scale: WeightScale::Group,
        weight_group_size: 32,
        layer_bit_map: None,
        num_layers: 1,
        ..config()
    };
    let (single, half) = (Packing::Ternary2, Packing::HalfScales);
    let (whole, short) = (file(c.clone(), single), file(c.clone(), half));
    assert_eq!(
        read_all(whole.clone()).unwrap(),
        read_all(short.clone()).unwrap()
    );
    let (wide, _) = open(whole).unwrap();
    let (narrow, source) = open(short).unwrap();
    for (a, b) in wide.tensors.iter().zip(&narrow.tensors) {
        if a.scale != ScalePer::Group {
            assert_eq!(a.length, b.length);
            continue;
        }
        assert_eq!(b.scale, ScalePer::GroupF16);
        assert!(b.length < a.length, "{}", a.name);
        let take = &mut |_: TensorRows| Ok(());
        let scales = pollster::block_on(narrow.read_tensor(&source, b, take)).unwrap();
        let rounded = |s: &f32| ::half::f16::from_f32(*s).to_f32() == *s;
        assert!(!scales.is_empty() && scales.iter().all(rounded));
    }
}

#[test]
fn errors_name_what_was_wrong() {
    let good = file(config(), Packing::Ternary2);
    let message = |bytes: Vec<u8>| read_all(bytes).unwrap_err().to_string();
    assert!(message(Vec::new()).contains("empty"));
    assert!(message(b"GGUF....................".to_vec()).contains("a GGUF model"));
    assert!(message(b"abcdefghijkl".to_vec()).contains("61 62 63"));
    let mut future = good.clone();
    future[8] = 9;
    assert!(message(future).contains("version 9"));
    assert!(message(good[..good.len() - 1].to_vec()).contains("too early"));
    assert!(message(good[..40].to_vec()).contains("header"));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(message(flipped).contains("damaged"));
}

#[test]
fn a_table_that_lies_is_refused() {
    // Rewrites the table, with right checksums, and expects an error with a word in it.
    let lie = |from: &str, to: &str, word: &str| {
        let good = file(config(), Packing::Ternary2);
        let meta = u64::from_le_bytes(good[16..24].try_into().unwrap()) as usize;
        let len = u64::from_le_bytes(good[24..32].try_into().unwrap()) as usize;
        let at = 64 + meta;
        let mut table = String::from_utf8(good[at..at + len].to_vec()).unwrap();
        assert!(table.contains(from), "{from}");
        table = table.replacen(from, to, 1);
        assert!(table.len() <= len, "the lie must fit");
        table += &" ".repeat(len - table.len());
        let mut bad = good.clone();
        bad[at..at + len].copy_from_slice(table.as_bytes());
        bad[52..56].copy_from_slice(&crc32fast::hash(table.as_bytes()).to_le_bytes());
        let crc = crc32fast::hash(&bad[..56]);
        bad[56..60].copy_from_slice(&crc.to_le_bytes());
        let e = read_all(bad).unwrap_err().to_string();
        assert!(e.contains(word), "{e}");
    };
    lie("\"ternary2\"", "\"quinary\"", "quinary");
    lie("[300,12]", "[0,1200]", "impossible");
    lie("[300,12]", "[301,12]", "needs");
    lie("\"offset\":0", "\"offset\":3", "multiple");
    lie("\"length\":7200", "\"length\":720", "needs");
}

#[test]
fn a_streamed_file_is_what_is_encoded_at_once() {
    let whole = file(config(), Packing::Ternary2);
    let (one_bit, source) = open(whole.clone()).unwrap();
    let write = |leave_out: usize, spoil: bool| {
        let mut sink = MemorySink::default();
        let result = pollster::block_on(async {
            let mut writer = Writer::new(&mut sink, one_bit.metadata.clone(), Packing::Ternary2)?;
            // The last first, and its scales after its values.
            for (index, t) in one_bit.tensors.iter().enumerate().skip(leave_out).rev() {
                let mut bytes = Vec::new();
                let take = &mut |rows: TensorRows| {
                    bytes.extend_from_slice(rows.bytes);
                    Ok(())
                };
                let scales = one_bit.read_tensor(&source, t, take).await?;
                let mut out = writer.tensor(index)?;
                let last = index % 2 == 0;
                match (scales.is_empty(), last) {
                    (true, _) => {}
                    (false, true) => out.leave_scales(scales.len()),
                    (false, false) => out.scales(&scales).await?,
                }
                let bytes = if spoil { &bytes[1..] } else { &bytes[..] };
                let (first, rest) = bytes.split_at(bytes.len() / 2);
                out.push(first).await?;
                out.push(rest).await?;
                if !scales.is_empty() && last {
                    out.fill_scales(&scales).await?;
                }
                out.finish()?;
                assert!(writer.tensor(index).is_err());
            }
            writer.finish().await
        });
        result.map(|_| sink.bytes)
    };
    let streamed = write(0, false).unwrap();
    assert!(read_all(streamed.clone()).unwrap() == read_all(whole).unwrap());
    let (again, _) = open(streamed).unwrap();
    assert_eq!(again.metadata, one_bit.metadata);
    let e = write(0, true).unwrap_err().to_string();
    assert!(e.contains("bytes were written"), "{e}");
    // One tensor too few.
    assert!(write(1, false).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_safe(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read_all(bytes.clone()).is_err());
        // With a valid start the later checks are reached.
        for (i, b) in MAGIC.iter().enumerate() {
            if let Some(slot) = bytes.get_mut(i) { *slot = *b; }
        }
        prop_assert!(read_all(bytes).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let good = file(config(), Packing::Ternary2);
        let mut bad = good.clone();
        let i = at.index(bad.len());
        bad[i] ^= 1 << bit;
        let (one_bit, _) = open(good).unwrap();
        // Bytes that carry nothing: the reserved word and the padding between tensors.
        let data = bad.len() as u64 - one_bit.tensors.last().map_or(0, |t| t.offset + t.length);
        let padding = (60..64).contains(&i) || (i as u64) >= data && !one_bit.tensors.iter().any(|t| {
            (data + t.offset..data + t.offset + t.length).contains(&(i as u64))
        });
        let before_data = (i as u64) < data && bad[..i].len() > 64;
        prop_assert!(read_all(bad).is_err() || padding || before_data, "byte {}", i);
    }
}
