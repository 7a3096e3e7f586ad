// Keeps the page's own files, so that it opens without a network. Models are none of its business: the engine keeps those.
//
// Its address carries the name of the page's module, which is another in every build. A new build is so a new worker with a
// cache of its own, and the old cache goes when it takes over.
const name = `page ${location.search}`;
const scope = new URL("./", location.href).href;

// The page itself names the files of its build; these it does not name. The worker's go by the page's version.
importScripts(`relaxed-simd.js${location.search}`);
const programs = ["worker", "workshop", "markdown"].map(build).flatMap((program) => [`${program}.js`, `${program}_bg.wasm`]);
const unnamed = ["worker-start.js", "relaxed-simd.js", ...programs].map((file) => file + location.search);
const plain = ["models/index.json"];

async function copy() {
  const page = await fetch(scope, { cache: "no-cache" });
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

// What is there now, else what was there at the last visit.
async function newest(request, key) {
  const cache = await caches.open(name);
  try {
    const answer = await fetch(request);
    if (answer.ok) await cache.put(key, answer.clone());
    return answer;
  } catch (problem) {
    const kept = await cache.match(key);
    if (kept) return kept;
    throw problem;
  }
}

addEventListener("install", (event) => event.waitUntil(copy().then(() => skipWaiting())));

addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const old of await caches.keys()) if (old.startsWith("page ") && old !== name) await caches.delete(old);
  await clients.claim();
})()));

addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || !url.href.startsWith(scope)) return;
  const file = url.href.slice(scope.length);
  if (request.mode === "navigate") {
    // One page, whatever the address says about a model or a device.
    if (/^(index\.html)?([?#]|$)/.test(file)) event.respondWith(newest(request, scope));
  } else if (/^[^/]+\.(js|css|wasm|svg|webmanifest)(\?|$)|^icons\/|^models\/index\.json$/.test(file)) {
    event.respondWith(newest(request, request));
  }
});
