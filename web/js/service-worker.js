// Keeps the page's own files, so that it opens without a network, or from a site that does not answer. Models are none of its
// business: the engine keeps those.
//
// Its address carries the name of the page's module, which is another in every build. A new build is so a new worker with a
// cache of its own, and the old cache goes when it takes over. The cache's name carries the page's folder, too: other folders of
// the same site may hold other copies of the page.
const build_name = location.search.slice(1);
const scope = new URL("./", location.href).href;
const own = `page ${scope} `;
const name = own + build_name;
// What a site that is asked may take before what is kept is shown, and how long nobody waits for it again after that, in milliseconds.
const patience = 2000;
const memory = 30_000;
// By when nothing is expected any more.
const given_up = 60_000;

// The page itself names the files of its build; these it does not name. The worker's go by the page's version.
importScripts(`relaxed-simd.js${location.search}`);
const programs = ["worker", "full-worker", "grammar", "markdown", "parquet"].map(build).flatMap((program) => [`${program}.js`, `${program}_bg.wasm`]);
const unnamed = ["worker-start.js", "relaxed-simd.js", ...programs].map((file) => file + location.search);
const plain = ["models/index.json", "models/catalogue.json"];

async function copy() {
  let answer = await fetch(scope, { cache: "no-cache" });
  // Some hosts have no page for a folder.
  if (!answer.ok) answer = await fetch(`${scope}index.html`, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${scope}: ${answer.status}`);
  // One that was redirected could not be shown as the page.
  const page = new Response(await answer.arrayBuffer(), { headers: answer.headers });
  const named = [...(await page.clone().text()).matchAll(/(?:href|src|data-js|data-wasm)="([^"#]+)"/g)].map((found) => found[1]);
  const cache = await caches.open(name);
  await cache.put(scope, page);
  await Promise.all([...new Set([...named, ...unnamed, ...plain])].map(async (file) => {
    const answer = await fetch(new URL(file, scope), { cache: "no-cache" });
    // A page without a model of its own has no list of them.
    if (answer.ok) await cache.put(new URL(file, scope), answer);
    else if (!plain.includes(file)) throw new Error(`${file}: ${answer.status}`);
  }));
}

// The answer once all of it is there.
async function whole(answer) {
  await answer.clone().arrayBuffer();
  return answer;
}

// What a browser asks for before workers may share memory, so that the engine has threads on hosts that do not say it.
const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

// The same answer, isolated from other sites. One that sends the reader elsewhere has nothing to isolate.
function isolated(answer) {
  if (answer.type !== "basic" && answer.type !== "default") return answer;
  if (Object.keys(isolation).every((name) => answer.headers.has(name))) return answer;
  const headers = new Headers(answer.headers);
  for (const [name, value] of Object.entries(isolation)) headers.set(name, value);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

const pause = (time) => new Promise((wake) => setTimeout(wake, time));

// When the site last failed to answer; 0 once it has answered.
let silent = 0;

// What is there now; what was there at the last visit where that fails, or takes too long.
async function newest(event, key) {
  const cache = await caches.open(name);
  const kept = await cache.match(key);
  if (!kept) {
    const answer = await fetch(event.request);
    if (answer.ok) event.waitUntil(keep(cache, key, answer.clone()));
    return answer;
  }
  const known = Date.now() - silent < memory;
  // Asked for one file after the other, the page would wait for each. Whether the site is there again, the page itself finds out.
  if (known && key !== scope) return kept;
  let answered = false;
  const fetched = (async () => {
    const answer = await fetch(event.request, { signal: AbortSignal.timeout(given_up) });
    if (answer.status >= 500) throw new Error(answer.status);
    // In place of a script, a login's page or an apology.
    if (key !== scope && answer.headers.get("content-type")?.startsWith("text/html")) throw new Error("no file");
    if (answer.ok) await keep(cache, key, (await whole(answer)).clone());
    [answered, silent] = [true, 0];
    // A site that sends the reader elsewhere does so; a file that is not there any more is kept.
    return answer.ok || answer.type === "opaqueredirect" ? answer : null;
  })().catch(() => { silent = Date.now(); });
  event.waitUntil(fetched);
  if (known) return kept;
  const late = pause(patience).then(() => { if (!answered) silent = Date.now(); });
  return (await Promise.race([fetched, late])) ?? kept;
}

// A page of another build is kept by that build's worker, together with its files.
async function keep(cache, key, answer) {
  if (key === scope && !(await answer.clone().text()).includes(build_name)) return;
  await cache.put(key, answer);
}

addEventListener("install", (event) => {
  const installed = copy().then(() => skipWaiting());
  event.waitUntil(installed);
  // Chromium asks the older worker to go once, and a request that wakes it at that moment keeps it: asked again, it goes.
  installed.then(() => pause(1000)).then(() => skipWaiting()).catch(() => {});
});

addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const old of await caches.keys()) {
    // Earlier versions named no folder.
    const unnamed = old.startsWith("page ?") && (await (await caches.open(old)).match(scope));
    if ((old.startsWith(own) || unnamed) && old !== name) await caches.delete(old);
  }
  await clients.claim();
})()));

addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || !url.href.startsWith(scope)) return;
  const file = url.href.slice(scope.length);
  if (request.mode === "navigate") {
    // One page, whatever the address says about a model or a device.
    if (/^(index\.html)?([?#]|$)/.test(file)) event.respondWith(newest(event, scope).then(isolated));
  } else if (/^[^/]+\.(js|css|wasm|svg|webmanifest)(\?|$)|^icons\/|^models\/index\.json$/.test(file)) {
    const answer = newest(event, request);
    event.respondWith(request.destination === "worker" ? answer.then(isolated) : answer);
  }
});
