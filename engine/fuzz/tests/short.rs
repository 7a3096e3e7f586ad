//! A short campaign in every run of the tests; `cargo xtask fuzz` makes long ones.
#![allow(clippy::print_stdout, reason = "figures")]

use std::time::{Duration, Instant};

#[test]
fn hostile_files_are_refused_or_used() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut wrong = Vec::new();
    for mut target in ternary_fuzz::all(folder.path()) {
        let until = Instant::now() + Duration::from_secs(60);
        let f = ternary_fuzz::run(&mut target, 0, 2000, until);
        println!(
            "{}: {} executions, {} accepted",
            target.name, f.executions, f.accepted
        );
        assert!(
            f.executions >= 100,
            "{} is too slow to be tried",
            target.name
        );
        assert!(
            f.accepted > 0,
            "{} accepts nothing: its good file is none",
            target.name
        );
        wrong.extend(
            f.failures
                .iter()
                .map(|(n, what)| format!("{} {n}: {what}", target.name)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
