//! From a shader, its constants and its buffers to something a compute pass can dispatch.

use std::collections::HashMap;

use ternary_shaders::{Access, DOT4_FALLBACK, Shader};

use super::device::Gpu;

/// The widest grid every device takes in one dimension.
const MAX_GRID: u32 = 65_535;

/// Part of a buffer.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}

impl Slice {
    pub fn whole(buffer: &wgpu::Buffer) -> Slice {
        Slice {
            buffer: buffer.clone(),
            offset: 0,
            size: buffer.size(),
        }
    }
}

/// One dispatch to be: constants and buffers by the names they have in WGSL.
#[derive(Debug)]
pub(crate) struct Call {
    shader: &'static Shader,
    constants: Vec<(&'static str, f64)>,
    slices: Vec<(&'static str, Slice)>,
    grid: [u32; 3],
}

impl Call {
    pub fn new(shader: &'static Shader) -> Call {
        Call {
            shader,
            constants: Vec::new(),
            slices: Vec::new(),
            grid: [1; 3],
        }
    }

    /// Give an `override` its value; booleans are 0 or 1.
    pub fn set(mut self, name: &'static str, value: impl Into<f64>) -> Call {
        self.constants.push((name, value.into()));
        self
    }

    /// Give an `override` of type u32 a size.
    pub fn size(self, name: &'static str, value: usize) -> Call {
        self.set(name, value as f64)
    }

    pub fn bind(mut self, name: &'static str, slice: Slice) -> Call {
        self.slices.push((name, slice));
        self
    }

    /// With those of `slices` for what begins where they begin.
    #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
    pub fn widened(mut self, slices: &[Slice]) -> Call {
        for (_, bound) in &mut self.slices {
            let starts_here =
                |wide: &&Slice| wide.buffer == bound.buffer && wide.offset == bound.offset;
            if let Some(wide) = slices.iter().find(starts_here) {
                *bound = wide.clone();
            }
        }
        self
    }

    /// As many workgroups as `items` invocations need.
    pub fn items(self, items: usize) -> Call {
        let per_group = self.shader.invocations() as usize;
        self.workgroups(items.div_ceil(per_group))
    }

    /// `count` workgroups, folded into x and y as `flat_workgroup` expects.
    pub fn workgroups(mut self, count: usize) -> Call {
        let count = count as u32;
        let x = count.clamp(1, MAX_GRID);
        self.grid = [x, count.div_ceil(x), 1];
        self
    }

    pub fn grid(mut self, grid: [usize; 3]) -> Call {
        self.grid = grid.map(|n| n as u32);
        self
    }

    /// Workgroups in the third dimension.
    pub fn depth(mut self, depth: usize) -> Call {
        self.grid[2] = depth as u32;
        self
    }
}

/// A dispatch ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    grid: [u32; 3],
}

impl Step {
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

#[derive(Debug)]
struct Module {
    module: wgpu::ShaderModule,
    bindings: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
}

/// Constants are compared by their bits.
type PipelineKey = (&'static str, Vec<(&'static str, u64)>);

/// Compiled shaders and pipelines, shared by all programs.
#[derive(Debug)]
pub(crate) struct Kernels {
    modules: HashMap<&'static str, Module>,
    pipelines: HashMap<PipelineKey, wgpu::ComputePipeline>,
    run_params: wgpu::Buffer,
}

impl Kernels {
    /// `run_params` is bound wherever a shader declares it.
    pub fn new(run_params: wgpu::Buffer) -> Kernels {
        Kernels {
            modules: HashMap::new(),
            pipelines: HashMap::new(),
            run_params,
        }
    }

    pub fn step(&mut self, gpu: &mut Gpu, call: Call) -> Step {
        let Call {
            shader,
            constants,
            slices,
            grid,
        } = call;
        let run_params = Slice::whole(&self.run_params);
        let module = self
            .modules
            .entry(shader.name)
            .or_insert_with(|| compile(gpu, shader));
        let key = constants.iter().map(|(n, v)| (*n, v.to_bits())).collect();
        let pipeline = self.pipelines.entry((shader.name, key)).or_insert_with(|| {
            let cache = gpu.pipeline_cache.as_mut().map(|cache| {
                cache.dirty = true;
                &cache.cache
            });
            gpu.device
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(shader.name),
                    layout: Some(&module.layout),
                    module: &module.module,
                    entry_point: Some(shader.entry),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &constants,
                        // Every shader writes what it reads.
                        zero_initialize_workgroup_memory: false,
                    },
                    cache,
                })
        });
        let entries: Vec<_> = shader
            .bindings
            .iter()
            .map(|binding| {
                let slice = match binding.access {
                    Access::Uniform => &run_params,
                    _ => slices
                        .iter()
                        .find(|(name, _)| *name == binding.name)
                        .map(|(_, slice)| slice)
                        .unwrap_or_else(|| {
                            panic!(
                                "`{}` of shader `{}` is not bound",
                                binding.name, shader.name
                            )
                        }),
                };
                wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &slice.buffer,
                        offset: slice.offset,
                        size: wgpu::BufferSize::new(slice.size),
                    }),
                }
            })
            .collect();
        Step {
            pipeline: pipeline.clone(),
            group: gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(shader.name),
                layout: &module.bindings,
                entries: &entries,
            }),
            grid,
        }
    }
}

fn compile(gpu: &Gpu, shader: &'static Shader) -> Module {
    let mut source = String::new();
    // Browsers want it said, naga does not know it.
    if shader.subgroups && cfg!(target_arch = "wasm32") {
        source.push_str("enable subgroups;\n");
    }
    source.push_str(&shader.source());
    #[cfg(test)]
    if let Some(rewrite) = gpu.rewrite {
        source = rewrite(&source);
    }
    // Behind it, since what a shader enables comes first.
    if !gpu.packed_dot {
        source.push_str(DOT4_FALLBACK);
    }
    let module = gpu
        .device
        .create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(shader.name),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
    let entries: Vec<_> = shader
        .bindings
        .iter()
        .map(|binding| wgpu::BindGroupLayoutEntry {
            binding: binding.index,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match binding.access {
                    Access::Uniform => wgpu::BufferBindingType::Uniform,
                    Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let bindings = gpu
        .device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(shader.name),
            entries: &entries,
        });
    let layout = gpu
        .device
        .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&bindings)],
            immediate_size: 0,
        });
    Module {
        module,
        bindings,
        layout,
    }
}
