// Where the package's other files are. Bundlers look for these very words, `new URL` with a name and `import.meta.url`: they put each
// file beside their own, as it is and under a name of theirs. The workers' scripts are no part of anybody's bundle.
const urls = {
  "worker-start.js": new URL("./worker-start.js", import.meta.url),
  "worker.js": new URL("./worker.js", import.meta.url),
  "worker_bg.wasm": new URL("./worker_bg.wasm", import.meta.url),
  "worker-relaxed.js": new URL("./worker-relaxed.js", import.meta.url),
  "worker-relaxed_bg.wasm": new URL("./worker-relaxed_bg.wasm", import.meta.url),
  "full-worker.js": new URL("./full-worker.js", import.meta.url),
  "full-worker_bg.wasm": new URL("./full-worker_bg.wasm", import.meta.url),
  "grammar.js": new URL("./grammar.js", import.meta.url),
  "grammar_bg.wasm": new URL("./grammar_bg.wasm", import.meta.url),
  "parquet.js": new URL("./parquet.js", import.meta.url),
  "parquet_bg.wasm": new URL("./parquet_bg.wasm", import.meta.url),
};

/**
 * The worker of that name: `worker` talks, `full-worker` also changes models. It learns the addresses from its own, behind the #.
 * `folder` is where the files are, if not there.
 */
export function start(name, folder) {
  const place = folder && new URL(`${folder}`.replace(/\/?$/, "/"), document.baseURI);
  const address = ([file, { href }]) => [file, place ? new URL(file, place).href : href];
  const files = Object.fromEntries(Object.entries(urls).map(address));
  const hash = encodeURIComponent(JSON.stringify(files));
  return new Worker(`${own(files["worker-start.js"])}#${hash}`, { type: "module", name });
}

// Browsers start no worker from another site, but one of the page's own may import a script from there: WebKit only in this way, if
// the page is isolated. What comes meanwhile is kept for that script.
function own(script) {
  if (new URL(script).origin === location.origin) return script;
  const first = "self.first = new Promise((take) => addEventListener('message', ({ data }) => take(data), { once: true }));";
  return URL.createObjectURL(new Blob([`${first} await import(${JSON.stringify(script)});`], { type: "text/javascript" }));
}
