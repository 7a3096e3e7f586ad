// What index.d.ts must accept, as a page would write it; and, after each @ts-expect-error, what it
// must refuse. `cargo xtask test` has tsc check it where there is npm.
import { Engine, type BitMap, type ChatCompletion, type Message, type ResponseFormat, type Tool, type Tuned } from "ternary-core";

Engine.files = "/ternary-core/";
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
  const piece: string = chunk.choices[0].delta.content ?? "";
  console.log(piece, chunk.usage?.total_tokens, chunk.usage?.first_token_ms);
}
const speed: number = reply.usage.tokens_per_second + reply.usage.prompt_tokens_details.cached_tokens;
const continued = await engine.completions.create({ prompt: "Once" });
const parts = [{ role: "developer" as const, content: [{ type: "text" as const, text: "Be brief." }] }, ...messages];
await engine.chat.completions.create({ messages: parts, max_completion_tokens: 8, n: 1, user: "someone", temperature: null });

// Functions and forms; and a program that asks a server is answered in the same types.
const look: Tool = { type: "function", function: { name: "look", parameters: { type: "object" }, strict: true } };
const form: ResponseFormat = { type: "json_schema", json_schema: { schema: { type: "object" } } };
const asked = await engine.chat.completions.create({ messages, tools: [look], tool_choice: "required" });
const talk: Message[] = [...messages, asked.choices[0].message];
for (const call of asked.choices[0].message.tool_calls ?? []) {
  talk.push({ role: "tool", tool_call_id: call.id, content: JSON.parse(call.function.arguments).at });
}
await engine.chat.completions.create({ messages: talk, response_format: form, signal: new AbortController().signal });
const served: ChatCompletion = await (await fetch("http://127.0.0.1:8080/v1/chat/completions")).json();
console.log(served.choices[0].logprobs?.content[0].logprob, served.choices[0].finish_reason === "length");
console.log(speed, context, text, continued.choices[0].text.length);

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
// @ts-expect-error: there is no such role
await engine.chat.completions.create({ messages: [{ role: "robot", content: "Hi" }] });
// @ts-expect-error: there is no such parameter
await engine.chat.completions.create({ messages, functions: [] });
// @ts-expect-error: a text is gone on with one at a time
await engine.completions.create({ prompt: ["Once", "Twice"] });
// @ts-expect-error: one reply comes of a request
await engine.chat.completions.create({ messages, n: 2 });
// @ts-expect-error: probabilities are not told
await engine.completions.create({ prompt: "Once", logprobs: 3 });
// @ts-expect-error: an engine is loaded, not made
new Engine();
// @ts-expect-error: there is no such precision
await bitmap.measure("A text.", { ...bitmap.map, lm_head: "int3" });
