//! Compiled pipelines, kept between processes where the driver allows it (Vulkan).
//!
//! A file per adapter: the CRC-32 of what follows, then what the driver gave. A file that is
//! damaged, or another driver's, is ignored; it is replaced whole or not at all.

use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct PipelineCache {
    pub cache: wgpu::PipelineCache,
    file: PathBuf,
    /// Pipelines were made since the file was written.
    pub dirty: bool,
}

impl PipelineCache {
    /// The cache of `adapter` in `folder`; `None` where there is no such thing.
    pub fn open(
        device: &wgpu::Device,
        adapter: &wgpu::AdapterInfo,
        folder: &Path,
    ) -> Option<PipelineCache> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        let data = std::fs::read(&file).ok().and_then(|bytes| unpack(&bytes));
        // SAFETY: the driver must be given nothing but what it gave earlier. The file is named
        // after the adapter, its checksum has been compared, and the driver checks its own version
        // and, with `fallback`, starts empty if it differs.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("ternary-core"),
                data: data.as_deref(),
                fallback: true,
            })
        };
        Some(PipelineCache {
            cache,
            file,
            dirty: false,
        })
    }

    /// Write the file if there is something new. Training goes on without it, so a failure is only
    /// logged.
    pub fn save(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let Some(data) = self.cache.get_data() else {
            return;
        };
        if let Err(e) = write(&self.file, &pack(&data)) {
            log::warn!(
                "cannot keep compiled pipelines in {}: {e}",
                self.file.display()
            );
        }
    }
}

/// Replace the file whole or not at all.
pub(super) fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // A name of its own: another process may be writing, too.
    let draft = file.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&draft, bytes)?;
    std::fs::rename(&draft, file)
}

fn pack(data: &[u8]) -> Vec<u8> {
    let mut bytes = crc32fast::hash(data).to_le_bytes().to_vec();
    bytes.extend(data);
    bytes
}

fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let (checksum, data) = bytes.split_first_chunk::<4>()?;
    (crc32fast::hash(data) == u32::from_le_bytes(*checksum)).then(|| data.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_ignored() {
        let packed = pack(b"pipelines");
        assert_eq!(unpack(&packed).as_deref(), Some(&b"pipelines"[..]));
        for i in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[i] ^= 1;
            assert_eq!(unpack(&damaged), None);
            assert_eq!(unpack(&packed[..i]), None);
        }
    }
}
