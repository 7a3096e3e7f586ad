use super::*;
use ternary_core::config::{LayerBitMap, MatrixKind, QuantMode};
use ternary_core::params::ParamKind;
use ternary_infer::evaluate;

fn matrix(name: &str) -> params::Matrix {
    let file = pollster::block_on(OneBit::open(&MemorySource::new("a", file()))).unwrap();
    let all = params::all(&file.metadata.config);
    let found = all.into_iter().find_map(|p| match p.kind {
        ParamKind::Matrix(m) if m.name == name => Some(m),
        _ => None,
    });
    found.unwrap()
}

fn weights(s: &mut Session, name: &str, from: WeightSource) -> Weights {
    let name = name.to_owned();
    let events = run(s, ModelTask::Weights { name, from });
    match events.into_iter().next() {
        Some(Event::Weights { weights }) => *weights,
        other => panic!("{other:?}"),
    }
}

fn message(events: &[Event]) -> &str {
    match events {
        [Event::Error { message }] => message,
        other => panic!("{other:?}"),
    }
}

fn exported(s: &mut Session, map: &LayerBitMap) -> Vec<u8> {
    let events = run(s, ModelTask::Export { map: map.clone() });
    match events.into_iter().next() {
        Some(Event::File { name, bytes }) => {
            assert_eq!(name, "tiny.1bit");
            bytes
        }
        other => panic!("{other:?}"),
    }
}

const GATE: &str = "model.layers.1.mlp.gate_proj.weight";

#[test]
fn weights_are_those_of_the_parameters() {
    let mut s = session();
    let m = matrix(GATE);
    let w = weights(&mut s, GATE, WeightSource::Model);
    assert_eq!(
        (w.mode, w.rows, w.columns, w.shown_rows),
        (QuantMode::Ternary, 48, 32, 48)
    );
    let config = s.loaded().unwrap().info.config.clone();
    let latent = params::all(&config)
        .into_iter()
        .find(|p| p.name == GATE)
        .unwrap()
        .init(&config, 3);
    let expected = ternary_core::quant::quantize(&latent, m.rows, m.cols, &m.quant);
    assert_eq!(
        bytemuck::cast_slice::<u8, i8>(&w.codes),
        &expected.codes[..]
    );
    assert_eq!(w.scales, expected.scales);
    let embedding = weights(&mut s, params::EMBEDDING, WeightSource::Model);
    assert_eq!(embedding.mode, QuantMode::F16);
    assert_eq!(embedding.values.len(), 4 * embedding.rows * 32);
    let name = "model.layers.9.mlp.gate_proj.weight".to_owned();
    let events = run(
        &mut s,
        ModelTask::Weights {
            name,
            from: WeightSource::Model,
        },
    );
    assert!(message(&events).contains("no matrix `model.layers.9"));
}

#[test]
fn another_map_is_measured_exported_and_applied() {
    let mut s = session();
    let text = "once upon a time there was a cat ".repeat(30);
    let own = s.loaded().unwrap().info.bit_map.clone();
    let mut map = own.clone();
    let mut modes = ternary_core::config::MatrixModes::all(QuantMode::Ternary);
    modes.set(MatrixKind::Up, QuantMode::Binary);
    map.layer_modes[1] = modes.into();
    let mut measured = |map: &LayerBitMap| {
        let task = ModelTask::Measure {
            map: map.clone(),
            text: text.clone(),
        };
        match &run(&mut s, task)[..] {
            [Event::Measured { measured }] => (**measured).clone(),
            other => panic!("{other:?}"),
        }
    };
    let (first, second, again) = (measured(&own), measured(&map), measured(&own));
    assert_eq!(first.loss, again.loss);
    assert!(second.loss != first.loss && second.map == map);
    assert!((first.perplexity - first.loss.exp()).abs() < 1e-12);

    // The exported file is the measured model.
    let bytes = exported(&mut s, &map);
    let source = Rc::new(MemorySource::new("other.1bit", bytes));
    let windows = first.tokens;
    let seen = events(|emit| {
        pollster::block_on(s.compare(source.clone(), emit));
    });
    let [Event::Compared { name, changes }] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(name, "tiny");
    let other: Vec<_> = changes.iter().filter(|c| c.changed != Some(0)).collect();
    assert_eq!(other.len(), 1);
    assert_eq!(
        (other[0].name.as_str(), other[0].changed),
        ("model.layers.1.mlp.up_proj.weight", None)
    );
    let theirs = weights(&mut s, &other[0].name, WeightSource::Compared);
    assert_eq!(theirs.mode, QuantMode::Binary);

    let seen = run(&mut s, ModelTask::Apply { map: map.clone() });
    let Some(Event::Loaded { model }) = seen.last() else {
        panic!("{seen:?}")
    };
    assert_eq!(model.bit_map, map);
    let l = s.loaded().unwrap();
    let tokenizer = l.tokenizer.clone().unwrap();
    let whole = pollster::block_on(evaluate(&mut l.model, &tokenizer, &text, &mut |_, _| {}));
    // Other windows, so not the same mean; the same model all the same.
    assert!((whole.unwrap().loss - second.loss).abs() < 0.2 && windows > 100);
}

#[test]
fn a_preview_is_what_the_exported_file_holds() {
    let mut s = session();
    let own = s.loaded().unwrap().info.bit_map.clone();
    for mode in [QuantMode::Binary, QuantMode::EightBit, QuantMode::F16] {
        let mut map = own.clone();
        map.layer_modes[1] = ternary_core::config::LayerMode::Whole(mode);
        let name = GATE.to_owned();
        let events = run(&mut s, ModelTask::Preview { name, mode });
        let [Event::Weights { weights: shown }] = &events[..] else {
            panic!("{events:?}")
        };
        let (map, names) = (map.clone(), vec![GATE.to_owned()]);
        let told = run(
            &mut s,
            ModelTask::Figures {
                map: map.clone(),
                names,
            },
        );
        let [Event::Figures { figures }] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((figures.mode, figures.error), (mode, shown.error));
        assert!(shown.error.unwrap() < 1.0 && figures.scale > 0.0);
        // Finer modes hold the ternary values exactly, or nearly.
        assert_eq!(shown.error.unwrap() > 0.02, mode == QuantMode::Binary);
        assert_eq!(figures.zeros > 0.1, mode != QuantMode::Binary);

        let bytes = exported(&mut s, &map);
        let source = Rc::new(MemorySource::new("other.1bit", bytes));
        events_of(&mut s, source);
        let theirs = weights(&mut s, GATE, WeightSource::Compared);
        assert_eq!(
            (&theirs.codes, &theirs.values),
            (&shown.codes, &shown.values)
        );
        assert_eq!(theirs.scales, shown.scales);
        assert_eq!(theirs.scale_per, shown.scale_per);
        // Beside that file the error is what sets the loaded one apart from it.
        let beside = weights(&mut s, GATE, WeightSource::Model);
        assert!(beside.error.is_some());
        s = session();
    }
}

fn events_of(s: &mut Session, source: Rc<MemorySource>) -> Vec<Event> {
    events(|emit| pollster::block_on(s.compare(source, emit)))
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut s = session();
    let map = LayerBitMap::sandwich(3, QuantMode::Binary);
    let events = run(&mut s, ModelTask::Export { map: map.clone() });
    assert!(message(&events).contains("layer"), "{events:?}");
    let text = "a".to_owned();
    let events = run(&mut s, ModelTask::Measure { map, text });
    assert!(message(&events).contains("too short"), "{events:?}");
    let seen = events_of_compare(&mut s, b"no model".to_vec());
    assert!(message(&seen).contains("other.1bit: not a .1bit file"));
    let name = GATE.to_owned();
    let from = WeightSource::Compared;
    let seen = run(&mut s, ModelTask::Weights { name, from });
    assert!(message(&seen).contains("no file is compared"));
}

fn events_of_compare(s: &mut Session, bytes: Vec<u8>) -> Vec<Event> {
    events_of(s, Rc::new(MemorySource::new("other.1bit", bytes)))
}
