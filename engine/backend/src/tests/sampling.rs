//! What happens to the logits.

use super::*;

#[test]
fn repeated_tokens_are_penalised() {
    with_gpu(|gpu| {
        let logits = [2.0f32, -2.0, 0.0, 3.0, -3.0];
        let mut case = Case::default();
        let id = case.f32(&logits);
        let op = Op::Penalize {
            logits: id,
            // The third is past the valid ones, 99 past the vocabulary.
            recent: case.u32(&[0, 4, 99, 3]),
            capacity: 4,
            vocab: 5,
        };
        let run_params = RunParams {
            rows: 1,
            recent: 3,
            repetition_penalty: 2.0,
            ..RunParams::default()
        };
        assert_eq!(
            case.run(gpu, op, &run_params, id),
            [1.0, -2.0, 0.0, 3.0, -6.0]
        );
    });
}

fn top_k(gpu: &mut GpuBackend, logits: &[f32], k: usize) -> Vec<(u32, u32)> {
    let mut case = Case::default();
    let ids = case.recorder.io(Elem::U32, k);
    let values = case.out(k);
    let op = Op::TopK {
        logits: case.f32(logits),
        ids,
        values,
        vocab: logits.len(),
        k,
    };
    let read = case.try_run(gpu, op, &rows(1), &[ids, values]).unwrap();
    let ids: Vec<u32> = elements(&read[0]);
    let values: Vec<u32> = elements(&read[1]);
    ids.into_iter().zip(values).collect()
}

/// Ids and bits of the k largest, lowest id first among equals, in order of id.
fn expected(logits: &[f32], k: usize) -> Vec<(u32, u32)> {
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    ids.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).unwrap().then(a.cmp(b)));
    ids.truncate(k);
    ids.sort_unstable();
    ids.into_iter()
        .map(|i| (i as u32, logits[i].to_bits()))
        .collect()
}

#[test]
fn the_largest_logits_are_found() {
    with_gpu(|gpu| {
        for (vocab, k) in [
            (1, 1),
            (3, 2),
            (65, 65),
            (257, 40),
            (5000, 256),
            (50_257, 64),
            (128_256, 256),
        ] {
            let logits = Noise(vocab as u64).floats(vocab, 20.0);
            assert_eq!(
                top_k(gpu, &logits, k),
                expected(&logits, k),
                "{k} of {vocab}"
            );
        }
    });
}

#[test]
fn ties_go_to_the_lowest_ids() {
    with_gpu(|gpu| {
        for vocab in [300, 20_000] {
            let zeros = vec![0.0f32; vocab];
            assert_eq!(top_k(gpu, &zeros, 5), expected(&zeros, 5));
            // Few distinct values, both signs, saturated.
            let coarse: Vec<f32> = Noise(1)
                .floats(vocab, 3.0)
                .iter()
                .map(|v| v.round() * 1e38)
                .collect();
            assert_eq!(top_k(gpu, &coarse, 100), expected(&coarse, 100));
        }
    });
}

#[test]
fn nan_never_wins() {
    with_gpu(|gpu| {
        let logits = [f32::NAN, -5.0, f32::NEG_INFINITY, -1.0, -f32::NAN];
        let got: Vec<u32> = top_k(gpu, &logits, 3).iter().map(|p| p.0).collect();
        assert_eq!(got, [1, 2, 3]);
    });
}
