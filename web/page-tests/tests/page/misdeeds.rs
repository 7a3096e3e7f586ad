//! The tests' own checks.

use anyhow::{Result, ensure};
use page_tests::stage;

use crate::START;

/// The checks that every other test ends with must be able to fail.
#[test]
fn misdeeds_are_noticed() -> Result<()> {
    let stage = stage()?;
    let elsewhere = stage.server.origin().replace("127.0.0.1", "localhost");
    stage.server.add(
        "/misdeeds.html",
        format!(
            "<meta http-equiv=Content-Security-Policy content=\"script-src 'self'; img-src *\">\
             <script src=misdeeds.js></script><script>document.title = 'inline script ran'</script>\
             <img src={elsewhere}/icon.svg>"
        ),
    )?;
    let worker = format!(
        "fetch('{elsewhere}/from-worker').catch(() => 0).finally(() => postMessage('done'));"
    );
    stage.server.add("/misdeeds-worker.js", worker)?;
    let script = "new Worker('misdeeds-worker.js').onmessage = () => { document.title = 'done'; \
                  throw new Error('thrown by the test'); };";
    stage.server.add("/misdeeds.js", script)?;

    let page = stage
        .browser
        .open(&format!("{}/misdeeds.html", stage.server.origin()))?;
    page.wait_for(
        "document.title == 'done' && document.querySelector('img').complete",
        START,
    )?;
    let findings = page.findings();
    let request = |name: &str| {
        findings
            .external_requests
            .iter()
            .any(|url| url.ends_with(name))
    };
    ensure!(
        request("/icon.svg"),
        "the page's request to another origin: {findings:#?}"
    );
    ensure!(
        request("/from-worker"),
        "the worker's request to another origin: {findings:#?}"
    );
    ensure!(
        findings
            .violations
            .iter()
            .any(|text| text.contains("inline")),
        "the inline script: {findings:#?}"
    );
    ensure!(
        findings
            .errors
            .iter()
            .any(|text| text.contains("thrown by the test")),
        "the exception: {findings:#?}"
    );
    ensure!(page.assert_clean().is_err());
    Ok(())
}
