// What index.d.ts must accept, as a page would write it; and, after each @ts-expect-error, what it
// must refuse. `cargo xtask test` has tsc check it where there is npm.
import { Engine, type BitMap, type Tuned } from "ternary-core";

const engine: Engine = await Engine.load("model.1bit", {
  device: "auto",
  kv: "f32",
  onProgress: ({ phase, loaded, total }) => console.log(phase.length, loaded / total),
  signal: new AbortController().signal,
});
const context: number = engine.model.context;

const messages = [{ role: "user" as const, content: "Hi" }];
const reply = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 8, stop: ["\n"] });
const text: string = reply.choices[0].message.content ?? "";
for await (const chunk of await engine.chat.completions.create({ messages, stream: true })) {
  const piece: string = chunk.choices[0].delta.content;
  console.log(piece, chunk.usage?.total_tokens);
}
const continued = await engine.completions.create({ prompt: "Once" });
const parts = [{ role: "developer" as const, content: [{ type: "text" as const, text: "Be brief." }] }, ...messages];
await engine.chat.completions.create({ messages: parts, max_completion_tokens: 8, n: 1, user: "someone", temperature: null });
console.log(context, text, continued.choices[0].text.length);

const bitmap: BitMap = await engine.bitmap();
const weights = await bitmap.weights("model.layers.0.mlp.up_proj.weight");
const { perplexity } = await bitmap.measure("A text.", { ...bitmap.map, lm_head: "ternary" });
console.log(weights.rows * weights.columns, perplexity);

const tuned: Tuned = await engine.finetune({ text: "A text.", rank: 8, onPoint: (point) => console.log(point.loss ?? 0) });
const file: File = await tuned.file("adapter");
console.log(file.name);

// @ts-expect-error: there is no such device
await Engine.load("model.1bit", { device: "tpu" });
// @ts-expect-error: a message has a role
await engine.chat.completions.create({ messages: [{ content: "Hi" }] });
// @ts-expect-error: one reply comes of a request
await engine.chat.completions.create({ messages, n: 2 });
// @ts-expect-error: probabilities are not told
await engine.completions.create({ prompt: "Once", logprobs: 3 });
// @ts-expect-error: an engine is loaded, not made
new Engine();
// @ts-expect-error: there is no such precision
await bitmap.measure("A text.", { ...bitmap.map, lm_head: "int3" });
