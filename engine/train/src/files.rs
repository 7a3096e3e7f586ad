//! Files that survive a power cut whole or not at all.

use std::io::Write;
use std::path::Path;

use crate::error::Result;
use ternary_common::error::IoContext;
use ternary_common::platform::Draft;

/// Replace `path` by a file of these bytes: written beside it, synced, renamed.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let (draft, mut file) = Draft::beside(path)?;
    file.write_all(bytes).at("write", path)?;
    file.sync_all().at("sync", path)?;
    draft.finish()?;
    if let Some(folder) = path.parent() {
        sync_folder(folder);
    }
    Ok(())
}

/// Write and sync, without the rename: for files of a folder that is itself renamed when it is
/// complete.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::File::create(path).at("create", path)?;
    file.write_all(bytes).at("write", path)?;
    Ok(file.sync_all().at("sync", path)?)
}

/// Make renames inside `folder` last. Not every file system can sync a folder, and none loses data
/// for it: errors are ignored.
pub(super) fn sync_folder(folder: &Path) {
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}
