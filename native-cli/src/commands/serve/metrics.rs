//! Figures for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper limits of the histograms' buckets, in seconds.
const BUCKETS: [f64; 13] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Times, by how long they were.
#[derive(Debug, Default)]
struct Histogram {
    counts: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|most| seconds <= *most);
        self.counts[bucket.unwrap_or(BUCKETS.len())].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(micros, Ordering::Relaxed);
    }

    fn sum(&self) -> f64 {
        self.microseconds.load(Ordering::Relaxed) as f64 / 1e6
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        header(out, name, help, "histogram");
        let mut total = 0;
        for (most, count) in BUCKETS.iter().zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            _ = writeln!(out, "{name}_bucket{{le=\"{most}\"}} {total}");
        }
        let (sum, count) = (self.sum(), self.count());
        _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
        _ = writeln!(out, "{name}_sum {sum}\n{name}_count {count}");
    }
}

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By endpoint and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    /// Clients that went away before the end.
    aborted: AtomicU64,
    first_token: Histogram,
    duration: Histogram,
}

/// What a model is doing.
#[derive(Clone, Debug)]
pub struct Load {
    pub model: String,
    pub running: usize,
    pub waiting: usize,
}

impl Metrics {
    pub fn request(&self, endpoint: &'static str, status: u16, time: Duration, aborted: bool) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((endpoint, status)).or_default() += 1;
        drop(requests);
        self.aborted.fetch_add(aborted.into(), Ordering::Relaxed);
        self.duration.add(time);
    }

    pub fn first_token(&self, time: Duration) {
        self.first_token.add(time);
    }

    pub fn tokens(&self, prompt: usize, cached: usize, generated: usize) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        add(&self.prompt_tokens, prompt);
        add(&self.cached_tokens, cached);
        add(&self.generated_tokens, generated);
    }

    /// Seconds that a request has taken on average.
    pub fn mean_duration(&self) -> f64 {
        self.duration.sum() / self.duration.count().max(1) as f64
    }

    /// In Prometheus' text format.
    pub fn text(&self, loads: &[Load]) -> String {
        let mut out = String::new();
        let name = "onebit_requests_total";
        header(
            &mut out,
            name,
            "Requests answered, by endpoint and status.",
            "counter",
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((endpoint, status), count) in requests.iter() {
            _ = writeln!(
                out,
                "{name}{{endpoint=\"{endpoint}\",status=\"{status}\"}} {count}"
            );
        }
        drop(requests);
        for (name, help, counter) in [
            (
                "onebit_aborted_total",
                "Clients that went away before the end.",
                &self.aborted,
            ),
            (
                "onebit_prompt_tokens_total",
                "Tokens of prompts.",
                &self.prompt_tokens,
            ),
            (
                "onebit_cached_tokens_total",
                "Tokens of prompts that did not have to be read again.",
                &self.cached_tokens,
            ),
            (
                "onebit_generated_tokens_total",
                "Tokens of replies.",
                &self.generated_tokens,
            ),
        ] {
            header(&mut out, name, help, "counter");
            _ = writeln!(out, "{name} {}", counter.load(Ordering::Relaxed));
        }
        for (name, help, of) in [
            (
                "onebit_running",
                "Requests that a model is answering.",
                (|load| load.running) as fn(&Load) -> usize,
            ),
            (
                "onebit_waiting",
                "Requests that wait for a model.",
                |load| load.waiting,
            ),
        ] {
            header(&mut out, name, help, "gauge");
            for load in loads {
                _ = writeln!(out, "{name}{{model=\"{}\"}} {}", load.model, of(load));
            }
        }
        self.first_token.write(
            &mut out,
            "onebit_first_token_seconds",
            "From a request's submission to its first token.",
        );
        self.duration.write(
            &mut out,
            "onebit_request_seconds",
            "From a request's first byte to its answer's last.",
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_prometheus_text() {
        let metrics = Metrics::default();
        metrics.request("/v1/models", 200, Duration::from_millis(20), false);
        metrics.request("/v1/models", 200, Duration::from_secs(1000), true);
        metrics.first_token(Duration::from_millis(300));
        metrics.tokens(10, 4, 3);
        let load = Load {
            model: "m".into(),
            running: 2,
            waiting: 1,
        };
        let text = metrics.text(&[load]);
        for line in [
            "onebit_requests_total{endpoint=\"/v1/models\",status=\"200\"} 2",
            "onebit_aborted_total 1",
            "onebit_prompt_tokens_total 10",
            "onebit_cached_tokens_total 4",
            "onebit_generated_tokens_total 3",
            "onebit_running{model=\"m\"} 2",
            "onebit_waiting{model=\"m\"} 1",
            "onebit_first_token_seconds_bucket{le=\"0.25\"} 0",
            "onebit_first_token_seconds_bucket{le=\"0.5\"} 1",
            "onebit_first_token_seconds_count 1",
            "onebit_request_seconds_bucket{le=\"300\"} 1",
            "onebit_request_seconds_bucket{le=\"+Inf\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        // Every figure has its help and type.
        let names = text.lines().filter(|l| l.starts_with("# TYPE")).count();
        assert_eq!(names, 9);
    }
}
