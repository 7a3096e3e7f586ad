//! `mpirun -n N onebit …`: what several processes make together is what one makes alone. Built and
//! run by `cargo xtask test-mpi`; elsewhere it is skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

#[cfg(all(unix, feature = "mpi"))]
mod ranks;

#[test]
#[cfg(not(all(unix, feature = "mpi")))]
fn ranks_of_mpi() {
    eprintln!("SKIPPED: onebit is built without MPI; cargo xtask test-mpi builds it with it");
}

/// Processes that cannot reach each other must not train the same model side by side.
#[test]
#[cfg(not(feature = "mpi"))]
fn several_processes_without_mpi_are_refused() {
    let dir = common::workplace();
    let args: Vec<&str> = "train --config config.json --data-dir tokens --tokenizer tok.json \
        --output-dir out --device cpu"
        .split_whitespace()
        .collect();
    let env = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "4")];
    common::run_with(dir.path(), &args, env).fails(&["rank 0 of 4", "--features mpi"]);
    assert!(!dir.path().join("out").exists());
}
