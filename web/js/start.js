// Starts the user interface. Trunk names the script and the module it built in this element's attributes.
const { js, wasm } = document.querySelector("script[data-wasm]").dataset;
const url = (path) => new URL(path, document.baseURI).href;
// What stands there is to be seen before the program keeps the page busy; a tab in the background draws nothing.
const drawn = PerformanceObserver.supportedEntryTypes.find((type) => type === "largest-contentful-paint") ?? "paint";
const seen = new Promise((done) => {
  if (document.hidden) return done();
  new PerformanceObserver(() => setTimeout(done)).observe({ type: drawn, buffered: true });
  setTimeout(done, 1000);
});
try {
  const { default: init } = await import(url(js));
  await seen;
  await init({ module_or_path: url(wasm) });
} catch (problem) {
  const state = document.querySelector("#shell-state");
  if (state) state.textContent = `This page could not start: ${problem.message ?? problem}. Reload it, or try a newer browser.`;
  throw problem;
}

// Keeps the page for the next visit without a network. Only https and this machine itself may; elsewhere the page works without.
await navigator.serviceWorker?.register(`service-worker.js?${wasm.split("/").pop()}`).catch(console.warn);
