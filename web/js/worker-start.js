// Starts the engine's worker. The query that the page gave this script's address goes on to the two files:
// their names carry no hash, and a cached worker must never meet a newer page.
const version = new URL(import.meta.url).search;
const url = (name) => new URL(name + version, import.meta.url).href;
const { default: init } = await import(url("worker.js"));
await init({ module_or_path: url("worker_bg.wasm") });
