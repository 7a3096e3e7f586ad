// Starts a worker: the one that its name says, or the address behind its #, else the engine that talks. The query goes on to the two
// files: their names carry no hash, and a cached worker must never meet a newer page.
const { search: version, hash } = new URL(import.meta.url);
const program = self.name || hash.slice(1) || "worker";
const url = (name) => new URL(name + version, import.meta.url).href;
const { default: init } = await import(url(`${program}.js`));
await init({ module_or_path: url(`${program}_bg.wasm`) });
