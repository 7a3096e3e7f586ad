// The npm package `openai` against `onebit serve`: node openai_client.mjs http://127.0.0.1:PORT
// Its folder is in NODE_MODULES. Served are `m`, which says REPLY, and `caller`, which calls `f`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES + "/");
const { OpenAI } = require("openai");

const REPLY = "I do hear you";
const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];

const chat = await client.chat.completions.create({ model: "m", messages, temperature: 0 });
assert.equal(chat.choices[0].message.content, REPLY);

let text = "";
const stream = await client.chat.completions.create({ model: "m", messages, temperature: 0, stream: true });
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, REPLY);

const tools = [{ type: "function", function: { name: "f", parameters: { type: "object", properties: {} } } }];
const called = await client.chat.completions.create({ model: "caller", messages, temperature: 0, tools });
assert.equal(called.choices[0].finish_reason, "tool_calls");
assert.deepEqual(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), { a: 1 });

const response = await client.responses.create({ model: "m", input: "Hello", temperature: 0 });
assert.equal(response.output_text, REPLY);
let last;
for await (const event of await client.responses.create({ model: "m", input: "Hello", stream: true })) last = event.type;
assert.equal(last, "response.completed");

const vectors = await client.embeddings.create({ model: "m", input: ["a"] });
assert.equal(vectors.data[0].embedding.length, 128);

// A reply that is given up.
const given = await client.chat.completions.create({ model: "m", messages, stream: true });
given.controller.abort();

await assert.rejects(
  client.chat.completions.create({ model: "m", messages, top_p: 7 }),
  (e) => e instanceof OpenAI.BadRequestError && e.param === "top_p",
);
