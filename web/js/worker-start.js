// Starts a worker: the one that its name says, or the address behind its #, else the engine that talks. The query goes on to the other
// files: their names carry no hash, and a cached worker must never meet a newer page.

// What a helper is given by the engine it helps. Listened for at once: it may come while the rest is loaded.
const is_helper = self.name === "helper";
const given = is_helper && new Promise((take) => addEventListener("message", ({ data }) => take(data), { once: true }));

const { search: version, hash } = new URL(import.meta.url);
const url = (name) => new URL(name + version, import.meta.url).href;

if (is_helper) await help(await given);
else await begin();

async function begin() {
  await import(url("relaxed-simd.js"));
  const program = self.build(self.name || hash.slice(1) || "worker");
  const { default: init, ...exported } = await import(url(`${program}.js`));
  if (!exported.help) return init({ module_or_path: url(`${program}_bg.wasm`) });
  const module = await compile(url(`${program}_bg.wasm`));
  const memory = shared_memory();
  const start = (helpers) => {
    for (let number = 1; number <= helpers; number++) {
      const worker = new Worker(import.meta.url, { type: "module", name: "helper" });
      worker.postMessage({ program: url(`${program}.js`), module, memory, number });
    }
  };
  self.threads = { ...words(memory), number: () => 0, possible, start };
  share_randomness();
  await init({ module_or_path: module, memory });
}

async function compile(address) {
  // Some hosts do not say that it is WebAssembly.
  return WebAssembly.compileStreaming(fetch(address)).catch(async () => WebAssembly.compile(await (await fetch(address)).arrayBuffer()));
}

// Browsers refuse to fill memory that is shared with random bytes, and the program, compiled for one thread, asks for that.
function share_randomness() {
  const fill = crypto.getRandomValues.bind(crypto);
  crypto.getRandomValues = (view) => {
    view.set(fill(view.slice()));
    return view;
  };
}

// As large as web/build.rs says, and some pages that wasm-bindgen adds. Some devices have no room to reserve 4 GiB.
function shared_memory() {
  for (let maximum = 65536; ; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 136, maximum, shared: true });
    } catch (problem) {
      if (maximum <= 4096) throw problem;
    }
  }
}

// Browsers share memory between workers only in pages that their site isolates from others. They report hardware threads, and two of
// those often share one core.
function possible() {
  const most = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  return most <= 2 ? most : Math.max(2, Math.ceil(most / 2));
}

// What the engine's platform/web/threads.rs asks for. The places never change: memory that grows keeps its beginning.
function words(memory) {
  const words = new Int32Array(memory.buffer);
  return {
    load: (at) => Atomics.load(words, at),
    store: (at, value) => void Atomics.store(words, at, value),
    add: (at, value) => Atomics.add(words, at, value),
    take: (at) => Atomics.compareExchange(words, at, 0, 1),
    sleep: (at, value) => void Atomics.wait(words, at, value),
    wake: (at) => void Atomics.notify(words, at),
  };
}

async function help({ program, module, memory, number }) {
  const shared = words(memory);
  self.threads = { ...shared, number: () => number };
  const { default: init, help, failed_place } = await import(program);
  await init({ module_or_path: module, memory });
  const place = failed_place();
  try {
    help();
  } catch (problem) {
    shared.store(place, 1);
    throw problem;
  }
}
