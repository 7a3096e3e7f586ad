//! What happens to the logits.

use super::*;
use ternary_core::sampling::Choice;

#[test]
fn repeated_tokens_are_penalised() {
    on_both(|gpu| {
        let logits = [2.0f32, -2.0, 0.0, 3.0, -3.0];
        let mut case = Case::default();
        let id = case.f32(&logits);
        let op = Op::Penalize {
            logits: id,
            // The last is past the valid ones, 99 past the vocabulary; one comes twice.
            recent: case.u32(&[0, 4, 99, 0, 3]),
            capacity: 5,
            vocab: 5,
        };
        let run_params = RunParams {
            rows: 1,
            recent: 4,
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

/// What [`Op::Choose`] leaves: the token chosen, and what the next run finds of it.
fn choose(
    backend: &mut dyn Backend,
    candidates: &[(u32, f32)],
    run_params: &RunParams,
) -> [Vec<u32>; 3] {
    let mut case = Case::default();
    let ids: Vec<u32> = candidates.iter().map(|c| c.0).collect();
    let values: Vec<f32> = candidates.iter().map(|c| c.1).collect();
    let recent = case.u32(&[9; 4]);
    let [next, chosen] = [1, 1].map(|len| case.recorder.io(Elem::U32, len));
    let op = Op::Choose {
        top_ids: case.u32(&ids),
        top_values: case.f32(&values),
        k: candidates.len(),
        recent,
        capacity: 4,
        ids: next,
        chosen,
    };
    let read = case.try_run(backend, op, run_params, &[chosen, next, recent]);
    let read = read.unwrap();
    std::array::from_fn(|i| elements(&read[i]))
}

/// A draw so close to where a token ends may fall on the next one: exponentials of f32 are off by
/// some units in the last place.
const DRAW: f64 = 1e-5;

#[test]
fn tokens_are_chosen_as_a_sampler_chooses_them() {
    on_both(|backend| {
        let mut noise = Noise(5);
        let mut exact = 0;
        for k in [1, 3, 65, 256] {
            let candidates: Vec<(u32, f32)> = (0..k)
                .map(|i| (1000 + (i * 37) % 257, (noise.unit() * 40.0).round() * 0.2))
                .collect();
            for i in 0..40 {
                let run_params = RunParams {
                    pos: 5,
                    rows: 1,
                    temperature: [0.0, 0.3, 1.0, 5.0][i % 4],
                    top_k: [0, 1, 40][i % 3],
                    top_p: [1.0, 0.5, 0.95][i / 4 % 3],
                    draw: (noise.unit() + 1.0) * 0.49999,
                    ..RunParams::default()
                };
                let [chosen, next, recent] = choose(backend, &candidates, &run_params);
                assert_eq!(chosen, next);
                // Position 6 of four.
                assert_eq!(recent, [9, 9, chosen[0], 9]);
                let with = |draw: f64| {
                    let choice = Choice {
                        temperature: run_params.temperature,
                        top_k: run_params.top_k as usize,
                        top_p: run_params.top_p,
                        draw,
                    };
                    choice.among(candidates.clone()).unwrap()
                };
                let draw = f64::from(run_params.draw);
                let allowed = [0.0, -DRAW, DRAW].map(|off| with(draw + off));
                assert!(
                    allowed.contains(&chosen[0]),
                    "{k} candidates, {run_params:?}: {chosen:?}, expected {allowed:?}"
                );
                exact += usize::from(allowed[0] == chosen[0]);
            }
        }
        assert!(exact >= 158, "{exact} of 160 are the sampler's");
    });
}

#[test]
fn the_choice_is_the_lowest_id_of_equals_and_never_nan() {
    on_both(|backend| {
        let at = |temperature| RunParams {
            rows: 1,
            temperature,
            top_p: 1.0,
            draw: 0.99,
            ..RunParams::default()
        };
        let nan = f32::NAN;
        let ties = [(7, nan), (5, -0.0), (6, 0.0), (3, -1.0), (2, -nan)];
        assert_eq!(choose(backend, &ties, &at(0.0))[0], [5]);
        // The last one of the softmax is the least of the numbers.
        assert_eq!(choose(backend, &ties, &at(20.0))[0], [3]);
        let nothing = [(7, nan), (5, -nan)];
        for temperature in [0.0, 1.0] {
            // The next run gets a token that can be looked up.
            let left = choose(backend, &nothing, &at(temperature));
            assert_eq!(left, [vec![u32::MAX], vec![0], vec![9, 0, 9, 9]]);
        }
    });
}
