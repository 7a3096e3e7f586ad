//! Shaders on cooperative matrices, which no software adapter has, in the languages of drivers, as
//! wgpu translates them.

use naga::back::{msl, pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use ternary_shaders::{ALL, Shader};

/// Shaders whose matrices have this name, for every number of invocations and of steps in memory.
fn each(matrices: &str, test: impl Fn(&Shader, &Module, &ModuleInfo)) {
    let mut found = 0;
    for shader in ALL {
        let source = shader.source();
        if !source.contains(matrices) {
            continue;
        }
        found += 1;
        let mut options = naga::front::wgsl::Options::new();
        options.capabilities = Capabilities::all();
        let mut parser = naga::front::wgsl::Frontend::new_with_options(options);
        let module = parser.parse(&source).expect("the build parsed it");
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .expect("the build validated it");
        let entry = (ShaderStage::Compute, shader.entry);
        for (lanes, buffers) in [(128u32, 1u32), (128, 2), (256, 1), (256, 2)] {
            let values = module.overrides.iter().filter_map(|(_, of)| {
                let name = of.name.clone()?;
                let value = match name.as_str() {
                    "LANES" => lanes,
                    "BUFFERS" => buffers,
                    _ if of.init.is_some() => return None,
                    _ => 132,
                };
                Some((name, f64::from(value)))
            });
            let values = values.collect();
            let (module, info) = process_overrides(&module, &info, Some(entry), &values)
                .expect("every override has a value");
            assert_eq!(module.entry_points[0].workgroup_size, [lanes, 1, 1]);
            test(shader, &module, &info);
        }
    }
    assert!(found >= 5, "{found} shaders on {matrices}");
}

#[test]
fn cooperative_shaders_translate_to_spirv() {
    for matrices in ["coop_mat16x16<", "coop_mat8x8<"] {
        each(matrices, |shader, module, info| {
            let options = spv::PipelineOptions {
                shader_stage: ShaderStage::Compute,
                entry_point: shader.entry.to_owned(),
            };
            let words = spv::write_vec(module, info, &spv::Options::default(), Some(&options));
            assert!(words.is_ok(), "{}: {words:?}", shader.name);
        });
    }
}

/// Metal has matrices of 8 × 8 alone.
#[test]
fn cooperative_shaders_of_8_translate_to_metal() {
    each("coop_mat8x8<", |shader, module, info| {
        let checked = BoundsCheckPolicy::Restrict;
        let options = msl::Options {
            lang_version: (2, 3),
            bounds_check_policies: BoundsCheckPolicies {
                index: checked,
                buffer: checked,
                ..BoundsCheckPolicies::default()
            },
            ..msl::Options::default()
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, shader.entry.to_owned())),
            ..msl::PipelineOptions::default()
        };
        let (text, _) = msl::write_string(module, info, &options, &pipeline)
            .unwrap_or_else(|e| panic!("{}: {e}", shader.name));
        for name in ["simdgroup_half8x8", "simdgroup_float8x8"] {
            assert!(text.contains(name), "{}", shader.name);
        }
    });
}
