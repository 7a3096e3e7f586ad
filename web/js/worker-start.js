// Starts a worker: the one that its name says, or the address behind its #, else the engine that talks. The query goes on to the other
// files: their names carry no hash, and a cached worker must never meet a newer page.
const { search: version, hash } = new URL(import.meta.url);
const url = (name) => new URL(name + version, import.meta.url).href;
await import(url("relaxed-simd.js"));
const program = self.build(self.name || hash.slice(1) || "worker");
const { default: init } = await import(url(`${program}.js`));
await init({ module_or_path: url(`${program}_bg.wasm`) });
