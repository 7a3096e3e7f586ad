//! Debian packages: announced, then installed by root or through sudo.

use std::process::Command;
use std::sync::Once;

use anyhow::{Result, bail};

use crate::shell::{find, output, run, step};

/// Installs `packages`, after saying so and `why`. Elsewhere than on Debian and its like, or
/// without the right to install, this fails with what to do by hand.
pub fn install(packages: &[&str], why: &str, by_hand: &str) -> Result<()> {
    let command = format!(
        "apt-get install -y --no-install-recommends --no-remove {}",
        packages.join(" ")
    );
    if find("apt-get").is_none() {
        bail!(
            "{why}\nThis system has no apt-get to install it with; install it yourself:\n  {by_hand}"
        );
    }
    let Some(privilege) = privilege() else {
        bail!(
            "{why}\nInstalling packages needs root, and there is no sudo. Run as root:\n  {command}\n\
             or install it yourself:\n  {by_hand}"
        );
    };
    let through = if privilege.is_empty() {
        ""
    } else {
        " (through sudo)"
    };
    step(&format!(
        "installing Debian packages{through}: {}\n    {why}",
        packages.join(" ")
    ));
    // Package lists of a new machine are often empty or old; once a run is enough.
    static UPDATED: Once = Once::new();
    let mut updated = Ok(());
    UPDATED.call_once(|| updated = run(apt_get(privilege).args(["-qq", "update"])));
    updated?;
    let mut apt = apt_get(privilege);
    // --no-remove: a conflicting package of the user's is an error to report, not a thing to take
    // away.
    apt.args([
        "-qq",
        "-o",
        "Dpkg::Use-Pty=0",
        "install",
        "-y",
        "--no-install-recommends",
        "--no-remove",
    ])
    .args(packages);
    run(&mut apt)
}

fn apt_get(privilege: &[&str]) -> Command {
    let words = [
        privilege,
        &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
    ]
    .concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// What goes before a command that only root may run; `None` when there is no way.
fn privilege() -> Option<&'static [&'static str]> {
    if is_root() {
        Some(&[])
    } else if find("sudo").is_some() {
        Some(&["sudo"])
    } else {
        None
    }
}

pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}
