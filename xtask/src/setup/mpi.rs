//! An MPI: `onebit` with its feature `mpi` is built against the system's own, Open MPI or MPICH.

use anyhow::Result;

use super::apt;
use crate::shell::find;

pub fn ensure() -> Result<()> {
    if find("mpicc").is_some() && find("mpirun").is_some() {
        return Ok(());
    }
    apt::install(
        &["libopenmpi-dev", "openmpi-bin", "libclang-dev"],
        "Several processes train together through MPI, whose bindings are made with libclang.",
        "Open MPI or MPICH with its headers, and libclang",
    )
}
