//! `onebit serve`: models over HTTP.
//!
//! Each model has a thread of its own ([`worker`]), which a request reaches through [`replies`].
//! The endpoints are in [`api`]; [`openapi`] lists them.

mod api;
mod app;
mod body;
mod fields;
mod guard;
mod ids;
mod metrics;
mod models;
pub mod openapi;
mod page;
mod refusal;
mod replies;
mod server;
mod structured;
mod talk;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod track;
mod turn;
mod wishes;
mod worker;
mod writing;

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ternary::platform::{Interrupt, on_interrupt};
use ternary::session::service::ServiceOptions;
use ternary::train::checkpoint;
use ternary::words::counted;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::args::Serve;
use crate::output::{self, errln};
use app::App;
use guard::Guard;
use models::{Loading, Models};
use page::Page;
use worker::Spec;

/// Threads for connections; the models have their own.
const THREADS: usize = 2;
/// Requests that are made ready at the same time; a template may take its time.
const PREPARING: usize = 8;

pub fn run(a: &Serve) -> Result<()> {
    let specs = specs(a)?;
    let addresses: Vec<SocketAddr> = (a.host.as_str(), a.port)
        .to_socket_addrs()
        .with_context(|| format!("--host {}", a.host))?
        .collect();
    ensure!(!addresses.is_empty(), "--host {} names no address", a.host);
    let hosts: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    let app = App {
        models: Models::new(a.parallel.saturating_add(a.queue)),
        metrics: Arc::default(),
        active: Arc::default(),
        guard: Guard::new(a.api_key_file.as_deref(), &a.cors, &hosts, a.insecure)?,
        page: match (&a.page, a.no_page) {
            (Some(folder), _) => Page::of_folder(folder)?,
            (None, true) => Page::default(),
            (None, false) => Page::built_in(),
        },
        max_body: a.max_body,
        timeout: Duration::from_secs(a.timeout),
        log_prompts: a.log_prompts,
    };
    let (signal, signals) = unbounded_channel();
    on_interrupt(move |interrupt| {
        // After the end nobody listens.
        let _ = signal.send(interrupt);
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(PREPARING)
        .thread_name("http")
        .enable_io()
        .enable_time()
        .build()?;
    let grace = Duration::from_secs(a.grace);
    let result = runtime.block_on(serve(Arc::new(app), specs, &addresses, signals, grace));
    runtime.shutdown_background();
    result
}

async fn serve(
    app: Arc<App>,
    specs: Vec<(String, Spec)>,
    addresses: &[SocketAddr],
    signals: UnboundedReceiver<Interrupt>,
    grace: Duration,
) -> Result<()> {
    let listeners = listen(addresses).await?;
    for listener in &listeners {
        errln!("listening on http://{}", listener.local_addr()?);
    }
    let adapters: Vec<String> = specs
        .first()
        .map(|(_, spec)| spec.adapters.iter().map(|(name, _)| name.clone()).collect())
        .unwrap_or_default();
    let mut loading = Vec::new();
    for (name, spec) in specs {
        loading.push((name.clone(), app.models.add(&name, spec)?));
    }
    let loaded = loaded(&app, loading, adapters);
    let served = server::serve(
        app.clone(),
        listeners,
        told_to_stop(app.clone(), signals),
        grace,
    );
    let (mut loaded, mut served) = (std::pin::pin!(loaded), std::pin::pin!(served));
    tokio::select! {
        result = &mut loaded => result?,
        () = &mut served => return Ok(()),
    }
    served.await;
    Ok(())
}

/// Wait for the models.
async fn loaded(app: &App, loading: Vec<(String, Loading)>, adapters: Vec<String>) -> Result<()> {
    let count = loading.len();
    let mut refused = Vec::new();
    for (name, loading) in loading {
        let ended = || format!("{name}: loading ended early");
        refused.push(loading.await.with_context(ended)??);
    }
    for adapter in adapters {
        let mut why = refused
            .iter()
            .flatten()
            .filter(|(name, _)| *name == adapter);
        if why.clone().count() == count
            && let Some((_, why)) = why.next()
        {
            bail!("--adapter {adapter} is for none of the models: {why}");
        }
    }
    for chosen in app.models.ids() {
        if let Ok(ready) = chosen.model.ready() {
            errln!(
                "{}: {}, {} of context",
                chosen.id(),
                ready.card.device,
                counted(ready.context, "token")
            );
        }
    }
    errln!("ready");
    Ok(())
}

/// Ends when the server is asked to end. Loads models anew when it is asked to.
async fn told_to_stop(app: Arc<App>, mut signals: UnboundedReceiver<Interrupt>) {
    while let Some(interrupt) = signals.recv().await {
        if interrupt == Interrupt::Hangup {
            let app = app.clone();
            tokio::spawn(async move { app.models.reload().await });
            continue;
        }
        log::info!("asked to end");
        // Whoever asks twice does not want to wait.
        tokio::spawn(async move {
            while let Some(again) = signals.recv().await {
                if again != Interrupt::Hangup {
                    output::exit(again.exit_code());
                }
            }
        });
        return;
    }
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for (i, address) in addresses.iter().enumerate() {
        // A free port for the first is meant to be that of all.
        let port = match listeners.first() {
            Some(first) if address.port() == 0 => first.local_addr()?.port(),
            _ => address.port(),
        };
        let address = SocketAddr::new(address.ip(), port);
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // A name may also stand for an address that this machine does not have.
            Err(e)
                if e.kind() == ErrorKind::AddrNotAvailable
                    && (i + 1 < addresses.len() || !listeners.is_empty()) =>
            {
                log::debug!("{address}: {e}");
            }
            Err(e) => {
                let advice = match e.kind() {
                    ErrorKind::AddrInUse => "; choose another --port",
                    ErrorKind::PermissionDenied => "; choose a --port of 1024 or above",
                    ErrorKind::AddrNotAvailable => "; give --host an address of this machine",
                    _ => "",
                };
                bail!("cannot listen on {address}: {e}{advice}")
            }
        }
    }
    Ok(listeners)
}

/// What the models are loaded from, by name.
fn specs(a: &Serve) -> Result<Vec<(String, Spec)>> {
    let mut adapters: Vec<(String, PathBuf)> = Vec::new();
    for given in &a.adapter {
        let Some((name, path)) = given.split_once('=') else {
            bail!("--adapter {given}: expected NAME=DIR");
        };
        check_name("--adapter", name)?;
        ensure!(
            adapters.iter().all(|(other, _)| other != name),
            "--adapter {name} is given twice"
        );
        ensure!(
            Path::new(path).exists(),
            "--adapter {name}: {path} does not exist"
        );
        adapters.push((name.to_owned(), PathBuf::from(path)));
    }
    let mut specs: Vec<(String, Spec)> = Vec::new();
    for given in &a.model {
        let (name, path) = named(given);
        check_name("--model", &name)?;
        ensure!(
            specs.iter().all(|(other, _)| *other != name),
            "two models are called {name}; give them names: --model NAME=PATH"
        );
        ensure!(
            path.exists() || checkpoint::is_checkpoint_path(&path),
            "{} does not exist; --model takes a .1bit file or a checkpoint folder",
            path.display()
        );
        let spec = Spec {
            path,
            options: ServiceOptions {
                device: a.device,
                threads: a.threads,
                context: a.context,
                cache: a.kv.into(),
                parallel: a.parallel,
                drafts: !a.no_drafts,
            },
            adapters: adapters.clone(),
            draft: None,
        };
        specs.push((name, spec));
    }
    for given in &a.draft {
        // The last one before `=` may be a model's name.
        let (name, path) = match given.split_once('=') {
            Some((name, path)) if !Path::new(given).exists() => (Some(name), path),
            _ => (None, given.as_str()),
        };
        let path = PathBuf::from(path);
        ensure!(
            path.exists(),
            "--draft {given}: {} does not exist; it takes a .1bit with the model's tokens, or a bit-map (.json)",
            path.display()
        );
        let mut found = specs
            .iter_mut()
            .filter(|(model, _)| name.is_none_or(|name| name == model));
        match (found.next(), found.next()) {
            (Some((_, spec)), None) => {
                ensure!(
                    spec.draft.is_none(),
                    "--draft {given}: the model has one already"
                );
                spec.draft = Some(path);
            }
            (None, _) => bail!("--draft {given}: there is no model of that name"),
            (Some(_), Some(_)) => {
                bail!("--draft {given}: say for which model: --draft NAME={given}")
            }
        }
    }
    Ok(specs)
}

/// Name and path of `[NAME=]PATH`.
fn named(given: &str) -> (String, PathBuf) {
    if let Some((name, path)) = given.split_once('=')
        && !Path::new(given).exists()
    {
        return (name.to_owned(), PathBuf::from(path));
    }
    let path = PathBuf::from(given);
    let full = path.canonicalize().unwrap_or_else(|_| path.clone());
    let stem = match full.is_dir() {
        true => full.file_name(),
        false => full.file_stem(),
    };
    let stem = stem.unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_whitespace() || ":/=\"\\".contains(c) {
            '-'
        } else {
            c
        }
    };
    (stem.chars().map(plain).collect(), path)
}

fn check_name(flag: &str, name: &str) -> Result<()> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || ":/=\"\\".contains(c);
    ensure!(
        !name.is_empty() && name.len() <= 100 && !name.contains(odd),
        "{flag} {name}: a name has 1 to 100 characters, and none of : / = \" \\ and white space"
    );
    Ok(())
}
