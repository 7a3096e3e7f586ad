// The engine for other pages: a worker, and around its messages an interface in OpenAI's shape. index.d.ts says what there is.

import { start } from "./files.js";
import { checked, form, sampling, spoken, tools } from "./requests.js";

const FINISH = { end: "stop", stopped: "stop", length: "length", context: "length" };

/** Values as they come, for one reader. */
class Flow {
  #values = [];
  #wake = () => {};
  #end = null;

  push(value) {
    this.#values.push(value);
    this.#wake();
  }

  close(problem) {
    this.#end = { problem };
    this.#wake();
  }

  /** Leaving early calls `left`. */
  async *read(left) {
    try {
      for (;;) {
        while (this.#values.length) yield this.#values.shift();
        if (this.#end?.problem) throw this.#end.problem;
        if (this.#end) return;
        await new Promise((wake) => (this.#wake = wake));
      }
    } finally {
      left();
    }
  }
}

export class Engine {
  #worker;
  /** What the worker was asked and has not done; it does one after the other, and only the first was sent. */
  #jobs = [];
  /** The id of the last request; the worker's responses carry the id of theirs. */
  #last_id = 0;
  #dead = null;
  #ready = false;
  /** What was loaded, and the promise of the full worker once that was started. */
  #place;
  #entered = null;
  /** The adapter that the worker answers with, once it has done what it was asked; undefined where nothing is known. */
  #beside = null;

  /** Where the package's files are, if a bundler does not bring them along. */
  static files = null;

  constructor(full = false) {
    this.#start(start(full ? "full-worker" : "worker", Engine.files));
    if (full) this.#entered = Promise.resolve();
    this.model = null;
    this.chat = { completions: { create: (options) => this.#create(options, "chat") } };
    this.completions = { create: (options) => this.#create(options, "text") };
  }

  static load(source, options = {}) {
    return Engine.#open(new Engine(), () => place(source), options);
  }

  /** The larger worker does it, and stays: one that talks would have to load the model again. */
  static import(files, { name, head = "keep", ...options } = {}) {
    const all = Array.from(files instanceof File ? [files] : files);
    const stem = name ?? all[0]?.name.replace(/\.[^.]*$/, "") ?? "model";
    const engine = new Engine(true);
    const request = { Task: { Import: { files: { name: stem, files: all }, choices: { head: head === "keep" ? null : head } } } };
    return Engine.#open(engine, () => engine.#imported(request, options), options);
  }

  static async #open(engine, find, { device = "auto", kv = "f16", threads = 0, onProgress, signal }) {
    try {
      engine.#place = [await find(), device, kv, threads];
      engine.model = await engine.#loaded(...engine.#place, onProgress, signal);
      return engine;
    } catch (problem) {
      engine.close();
      throw problem;
    }
  }

  bitmap() {
    const run = (task, answer) => this.#run_task(task, answer);
    return {
      map: this.model.bitMap,
      weights: (name) => this.#run_task({ type: "weights", name, from: "model" }, ({ weights }) => weights),
      measure: (text, map = this.model.bitMap) => run({ type: "measure", map, text }, ({ measured }) => measured),
      export: (map = this.model.bitMap) => run({ type: "export", map }, file),
      apply: async (map) => {
        this.model = await run({ type: "apply", map }, ({ model }) => model);
        this.#beside = undefined;
        return this.model;
      },
    };
  }

  async addAdapter(name, files) {
    const all = files instanceof Blob ? [files] : Array.from(files);
    const named = all.map((file) => (file instanceof File ? file : new File([file], "adapter.safetensors")));
    await this.#enter();
    this.model = await this.#answer({ Task: { AddAdapter: { name, adapter: { Files: named } } } }, ({ model }) => model);
  }

  logits(ids) {
    return this.#run_task({ type: "logits", ids: Array.from(ids) }, ({ values }) => values && new Float32Array(values.slice().buffer));
  }

  /** Aborting ends it early; what it learnt until then is there all the same. */
  async finetune({ text, rank, alpha = rank && 2 * rank, steps, learning_rate, batch_size, seq_len, seed, onPoint, onSample, signal }) {
    const lora = rank ? { rank, alpha } : undefined;
    const settings = { text, lora, steps, learningRate: learning_rate, batchSize: batch_size, seqLen: seq_len, seed };
    for (const [name, value] of Object.entries(settings)) if (value === undefined) delete settings[name];
    signal?.throwIfAborted();
    const points = [];
    const stopped = await this.#run_task({ type: "tune", settings }, (event) => {
      if (event.type === "tunePoint") onPoint?.(event.point), points.push(event.point);
      if (event.type === "tuneSample") onSample?.(event.sample);
      return event.type === "tuneStopped" && event;
    }, signal);
    return {
      step: stopped.step,
      done: stopped.done,
      points,
      file: (keep = "model") => this.#run_task({ type: "exportTune", keep }, file),
      keep: async () => {
        this.model = await this.#run_task({ type: "keepTune" }, ({ model }) => model);
        this.#beside = undefined;
        return this.model;
      },
    };
  }

  async #run_task(task, answer, signal) {
    await this.#enter();
    return this.#answer({ Model: task }, answer, signal);
  }

  /** The first thing that `answer` finds in a request's events. Aborting stops it, and it answers still. */
  #answer(request, answer, signal) {
    return new Promise((resolve, reject) => {
      const job = this.#do(request, "Stop", null, reject, ({ Event: event }) => {
        if (!event) return false;
        if (event.type === "error") return reject(new Error(event.message)), true;
        const found = answer(event);
        if (found) resolve(found);
        return Boolean(found);
      });
      signal?.addEventListener("abort", () => this.#give_up(job), { once: true });
    });
  }

  /** Into the worker that changes models, with the model. It is larger, so it comes when it is first wanted. */
  #enter() {
    if (!this.#entered) {
      // In its turn: what was asked before is answered before.
      const move = () => this.#start(start("full-worker", Engine.files));
      this.#beside = null;
      this.#jobs.push({ move, fail() {} });
      this.#entered = this.#loaded(...this.#place);
    }
    return this.#entered;
  }

  #start(worker) {
    this.#worker?.terminate();
    this.#ready = false;
    this.#worker = worker;
    worker.onmessage = ({ data }) => {
      const { id, response } = data.Response ?? {};
      if (id === undefined) return this.#notified(data.Notification);
      this.#respond(id, response.Event ? { Event: typed(response.Event) } : response);
    };
    worker.onerror = ({ message }) => this.#die(message || "its program could not be loaded");
  }

  close() {
    this.#die("it was closed");
  }

  /** The place of what became of a published model. */
  #imported(request, { onProgress, signal }) {
    return new Promise((resolve, reject) => {
      this.#do(request, "Cancel", signal, reject, (response) => {
        if (response === "Cancelled") return reject(signal.reason), true;
        if (response.Importing) onProgress?.({ phase: "import", loaded: response.Importing.done, total: response.Importing.total });
        if (response.Event?.type === "error") return reject(new Error(response.Event.message)), true;
        if (response.Kept) return resolve({ Stored: response.Kept }), true;
      });
    });
  }

  #loaded(source, device, kv, threads, onProgress, signal) {
    return new Promise((resolve, reject) => {
      const step = (phase, { done, total }) => onProgress?.({ phase, loaded: done, total });
      this.#do({ Load: { source, device, kv, threads } }, "Cancel", signal, reject, (response) => {
        if (response === "Cancelled") return reject(signal.reason), true;
        if (response.Fetched) step("download", response.Fetched);
        const problem = response.Unreachable ?? response.Damaged?.message;
        if (problem) return reject(new Error(problem)), true;
        const event = response.Event;
        if (event?.type === "progress") step("load", event);
        if (event?.type === "loaded") return resolve(event.model), true;
        if (event?.type === "error") return reject(new Error(event.message)), true;
      });
    });
  }

  /** The adapter that `model` asks for; null: none. */
  #wanted(model) {
    const { name, adapter = null, adapters } = this.model;
    if (model === undefined) return adapter;
    if (adapters.includes(model)) return model;
    if (model === name) return null;
    throw new TypeError(`model: expected ${[name, ...adapters].map((known) => JSON.stringify(known)).join(" or ")}; found ${JSON.stringify(model)}`);
  }

  async #create(request, kind) {
    const options = checked(request, kind);
    const { messages, prompt, stream, signal, model } = options;
    const adapter = this.#wanted(model);
    const command = kind === "chat"
      ? { type: "chat", messages: spoken(messages), sampling: sampling(options, this.model), demands: { ...tools(options), form: form(options) } }
      : { type: "generate", prompt, sampling: sampling(options, this.model), form: form(options) };
    const shape = new Shape(kind, adapter ?? this.model.name);
    const flow = new Flow();
    signal?.throwIfAborted();
    let job = null;
    if (adapter !== this.#beside) {
      // Before the request, with nothing between them. Where it fails there is nothing to answer with.
      this.#beside = adapter;
      const fail = (problem) => {
        this.#beside = undefined;
        flow.close(problem);
        if (job) this.#give_up(job);
      };
      this.#do({ Run: { type: "adapt", name: adapter } }, "Stop", null, fail, ({ Event: event }) => {
        if (event?.type === "error") fail(new Error(event.message));
        return event?.type === "error" || event?.type === "loaded";
      });
    }
    job = this.#do({ Run: command }, "Stop", signal, (problem) => flow.close(problem), ({ Event: event }) => {
      if (event?.type === "token") flow.push(shape.chunk(event.text));
      if (event?.type === "toolCalls") flow.push(shape.called(event.calls));
      if (event?.type === "error") return flow.close(new Error(event.message)), true;
      if (event?.type !== "finished") return false;
      flow.push(shape.chunk("", FINISH[event.reason], event.stats));
      flow.close();
      return true;
    });
    const chunks = flow.read(() => this.#give_up(job));
    if (stream) return chunks;
    const all = [];
    for await (const chunk of chunks) all.push(chunk);
    return shape.whole(all);
  }

  /** Queues a request. `take` gets responses until it returns true; `fail` is told why it never will. */
  #do(request, stop, signal, fail, take) {
    const job = { id: ++this.#last_id, request, stop, take, fail, sent: false, over: false };
    if (this.#dead) return fail(this.#dead), job;
    if (signal?.aborted) return fail(signal.reason), job;
    signal?.addEventListener("abort", () => {
      if (job.over) return;
      fail(signal.reason);
      this.#give_up(job);
    }, { once: true });
    this.#jobs.push(job);
    this.#next();
    return job;
  }

  /** A job that runs still has to end before the next begins. */
  #give_up(job) {
    if (job.over || !this.#jobs.includes(job)) return;
    if (job.sent) this.#worker.postMessage({ id: ++this.#last_id, request: { [job.stop]: job.id } });
    else this.#jobs.splice(this.#jobs.indexOf(job), 1);
  }

  #next() {
    if (this.#ready && this.#jobs[0]?.move) this.#jobs.shift().move();
    const job = this.#jobs[0];
    if (!this.#ready || !job || job.sent) return;
    job.sent = true;
    this.#worker.postMessage({ id: job.id, request: words(job.request) });
  }

  #notified(notification) {
    if (notification === "Ready") this.#ready = true;
    else if (notification.Panicked) this.#die(notification.Panicked);
    this.#next();
  }

  /** What answers a request that nobody waits for any more is dropped. */
  #respond(id, response) {
    const job = this.#jobs[0];
    if (job?.id !== id) return;
    // `Done` ends what answered nothing that was waited for.
    if (job.take(response) || response === "Done") {
      this.#jobs.shift();
      job.over = true;
      this.#next();
    }
  }

  #die(why) {
    // Its helpers would go on looking for work.
    this.#worker?.terminate();
    this.#dead ??= new Error(`the engine is gone: ${why}`);
    for (const job of this.#jobs.splice(0)) job.fail(this.#dead);
  }
}

/** An event with its name as `type` among its fields; the worker says `{ name: fields }`. */
function typed(event) {
  const [[type, fields]] = Object.entries(event);
  return { ...fields, type };
}

/** The worker's words for a request whose command has its name as `type`: `{ name: fields }`, and the name alone where there are none. */
function words(request) {
  const spoken = (command) => {
    const { type, ...fields } = command;
    return Object.keys(fields).length ? { [type]: fields } : type;
  };
  const command = (kind) => request[kind] && { [kind]: spoken(request[kind]) };
  const task = command("Model");
  return command("Run") ?? (task ? { Task: task } : request);
}

/** A file to be saved, of the event that brings one. */
function file({ type, name, bytes }) {
  return type === "file" && new File([bytes], name);
}

/** A source in the worker's words. An address is meant from this page, not from the worker. */
function place(source) {
  if (typeof source === "string") return { Url: new URL(source, document.baseURI).href };
  return { File: source instanceof File ? source : new File([source], "model.1bit") };
}

/** Answers in OpenAI's shape. */
class Shape {
  constructor(kind, model) {
    this.chat = kind === "chat";
    this.head = { id: `${this.chat ? "chatcmpl" : "cmpl"}-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
    this.first = true;
    this.calls = false;
  }

  /** The calls of a reply, which come at once. */
  called(calls) {
    this.calls = true;
    const of = ({ id, name, arguments: given }, index) => ({ index, id, type: "function", function: { name, arguments: given } });
    const chunk = this.chunk("");
    chunk.choices[0].delta.tool_calls = calls.map(of);
    return chunk;
  }

  chunk(text, finish_reason = null, stats) {
    const role = this.first ? { role: "assistant" } : {};
    this.first = false;
    if (finish_reason === "stop" && this.calls) finish_reason = "tool_calls";
    const part = this.chat ? { delta: { ...role, content: text } } : { text };
    return {
      ...this.head,
      object: this.chat ? "chat.completion.chunk" : "text_completion",
      choices: [{ index: 0, ...part, logprobs: null, finish_reason }],
      ...(stats && { usage: usage(stats) }),
    };
  }

  whole(chunks) {
    const text = chunks.map(({ choices: [{ delta, text }] }) => delta?.content ?? text).join("");
    const last = chunks.at(-1);
    const calls = chunks.flatMap(({ choices: [{ delta }] }) => delta?.tool_calls ?? []).map(({ index, ...call }) => call);
    const content = calls.length && !text.trim() ? null : text;
    const message = { role: "assistant", content, refusal: null, ...(calls.length && { tool_calls: calls }) };
    const part = this.chat ? { message } : { text };
    return {
      ...this.head,
      object: this.chat ? "chat.completion" : "text_completion",
      choices: [{ index: 0, ...part, logprobs: null, finish_reason: last.choices[0].finish_reason }],
      usage: last.usage,
    };
  }
}

function usage({ promptTokens, cachedTokens, generatedTokens, firstTokenMs, tokensPerSecond }) {
  return {
    prompt_tokens: promptTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens: generatedTokens,
    total_tokens: promptTokens + generatedTokens,
    first_token_ms: firstTokenMs,
    tokens_per_second: tokensPerSecond,
  };
}
