// Starts a worker: the one that its name says, else the engine that talks. The query goes on to the other files: their names carry no
// hash, and a cached worker must never meet a newer page. In the npm package they may be anywhere, and the addresses stand behind the #.

// What a helper is given by the engine it helps. Listened for at once: it may come while the rest is loaded.
const is_helper = self.name === "helper";
const first = () => new Promise((take) => addEventListener("message", ({ data }) => take(data), { once: true }));
const given = is_helper && (self.first ?? first());

// Not import.meta.url: bundlers that look into this file put its place on their disk there.
const { href: own, search: version, hash } = self.location;
const elsewhere = hash ? JSON.parse(decodeURIComponent(hash.slice(1))) : {};
const url = (name) => elsewhere[name] ?? new URL(name + version, own).href;

// In pages of 64 KiB: what web/build.rs says, to which wasm-bindgen adds some.
const [initial, maximum] = [136, 65536];

// Not awaited here: bundlers' minifiers take a file for a script, which may not wait.
(is_helper ? given.then(help) : begin()).catch(reportError);

async function begin() {
  // The package's copy of this file begins with that one.
  if (!self.build) await import(url("relaxed-simd.js"));
  const program = self.build(self.name || "worker");
  const { default: init, ...exported } = await import(url(`${program}.js`));
  if (!exported.help) return init({ module_or_path: url(`${program}_bg.wasm`) });
  const address = url(`${program}_bg.wasm`);
  const shared = shared_memory();
  const memory = shared ?? reserved({});
  const module = await (shared ? compile : compile_unshared)(address);
  // Kept: a browser may end a worker that nobody holds.
  const helpers = [];
  const start = (wanted) => {
    try {
      while (helpers.length < wanted) {
        const worker = new Worker(own, { type: "module", name: "helper" });
        helpers.push(worker);
        worker.postMessage({ program: url(`${program}.js`), module, memory, number: helpers.length });
      }
    } catch (problem) {
      console.warn(problem);
    }
  };
  self.threads = { ...words(memory), number: () => 0, possible: () => (shared ? possible() : 1), start };
  share_randomness();
  self.part = part;
  await init({ module_or_path: module, memory });
}

// Programs that the engine of this worker fetches when it first needs them: what holds replies to a form, what reads Parquet.
const fetched = {};
function part(name) {
  fetched[name] ??= import(url(`${name}.js`)).then(async (program) => {
    await program.default({ module_or_path: url(`${name}_bg.wasm`) });
    return program;
  });
  // One that could not be fetched may be there the next time.
  fetched[name].catch(() => delete fetched[name]);
  return fetched[name];
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

// Some devices have no room to reserve all of it.
function reserved(more) {
  for (let most = maximum; ; most /= 2) {
    try {
      return new WebAssembly.Memory({ initial, maximum: most, ...more });
    } catch (problem) {
      if (most <= 4096) throw problem;
    }
  }
}

// None where a browser has it in isolated pages alone, or little of it, which is no loss where there is one thread.
function shared_memory() {
  try {
    return self.crossOriginIsolated ? reserved({ shared: true }) : new WebAssembly.Memory({ initial, maximum, shared: true });
  } catch {
    return null;
  }
}

// The program for a memory that is not shared: among its imports that of the memory, of kind 2, has the flags 1 (it has a maximum)
// instead of 3 (and is shared).
async function compile_unshared(address) {
  const program = new Uint8Array(await (await fetch(address)).arrayBuffer());
  const shared = [...new TextEncoder().encode("\x06memory"), 2, 3];
  const at = program.findIndex((_, at) => shared.every((byte, i) => program[at + i] === byte));
  program[at + shared.length - 1] = 1;
  return WebAssembly.compile(program);
}

// Browsers share memory between workers only in pages that their site isolates from others.
function possible() {
  return self.crossOriginIsolated && self.Worker ? navigator.hardwareConcurrency : 1;
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
    // Whichever is first, this or the first thread's panic, the page says what stopped.
    throw new Error(`one of the engine's helper threads stopped: ${problem}`, { cause: problem });
  }
}
