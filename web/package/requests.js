// What a request may have, in the names of OpenAI's API. Whatever is not honored is refused by its name, as `onebit serve` refuses it; a parameter
// that is null or undefined counts as absent. openai.js, which is made of the server's own description, says what becomes of each.

import { NUMBERS, PARAMETERS } from "./openai.js";

/** Texts that end a reply, at most. */
const STOPS = 64;
const ROLES = ["system", "developer", "user", "assistant", "tool"];
/** Parts of a message's content that are texts. */
const TEXTS = ["text", "input_text", "output_text"];

/** A value in a message, not all of a long one. */
function short(value) {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function wrong(place, expected, found) {
  return new TypeError(`${place}: expected ${expected}; found ${short(found)}`);
}

const absent = (value) => value === undefined || value === null;

/** The parameters of a request of a kind, "chat" or "text": those that are given and honored, of the types that they have to be. */
export function checked(options, kind) {
  if (typeof options !== "object" || options === null) throw wrong("the request", "an object", options);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => !absent(value)));
  const rules = { ...PARAMETERS[kind], signal: true };
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(rules, name)) throw new TypeError(`${name}: there is no such parameter`);
    const rule = rules[name];
    if (typeof rule === "string") throw new TypeError(`${name}: it is not supported: ${rule}`);
    if (Array.isArray(rule) && !rule.some((accepted) => JSON.stringify(accepted) === JSON.stringify(value))) {
      const what = rule.length ? `leave it out or give ${rule.map((accepted) => JSON.stringify(accepted)).join(" or ")}` : "leave it out";
      throw new TypeError(`${name}: ${short(value)} is not supported; ${what}`);
    }
    if (rule !== true) delete given[name];
    if (Object.hasOwn(NUMBERS[kind], name)) number(name, value, NUMBERS[kind][name]);
  }
  const { stream, stop, prompt, messages, signal, model } = given;
  if (!absent(stream) && typeof stream !== "boolean") throw wrong("stream", "true or false", stream);
  if (!absent(model) && typeof model !== "string") throw wrong("model", "a name", model);
  if (!absent(signal) && !(signal instanceof AbortSignal)) throw wrong("signal", "an AbortSignal", signal);
  const stops = absent(stop) ? [] : [stop].flat();
  if (stops.length > STOPS || !stops.every((text) => typeof text === "string" && text)) throw wrong("stop", `a text, or up to ${STOPS} of them`, stop);
  if (kind === "text" && typeof prompt !== "string") throw wrong("prompt", "a text", prompt);
  if (kind === "chat" && !(Array.isArray(messages) && messages.length)) throw wrong("messages", "a list of messages", messages);
  return given;
}

function number(name, value, { least = -Infinity, most = Infinity, whole = false }) {
  if (typeof value === "number" && value >= least && value <= most && (!whole || Number.isSafeInteger(value))) return;
  const from = least > -Infinity ? ` of at least ${least}` : "";
  const range = most < Infinity ? ` from ${least} to ${most}` : from;
  throw wrong(name, `${whole ? "a whole number" : "a number"}${range}`, value);
}

/** The engine's sampling; what is not given is as suits the model, as a server's answers are. */
export function sampling({ temperature, top_p, top_k, repetition_penalty, seed, max_tokens, max_completion_tokens, stop }, { sampling: suited }) {
  const given = {
    temperature,
    // 0 is the likeliest token, as the smallest share is.
    topP: top_p === 0 ? 1e-30 : top_p,
    // 0 and -1 are all that a step gives.
    topK: top_k && Math.max(0, top_k),
    repetitionPenalty: repetition_penalty,
    seed: seed >= 0 ? seed : Math.floor(Math.random() * Number.MAX_SAFE_INTEGER),
    maxTokens: max_completion_tokens ?? max_tokens,
    stop: stop && [stop].flat(),
  };
  return { ...suited, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
}

/** What a reply has to be; null where it is free. */
export function form({ response_format: format }) {
  if (!format || format.type === "text") return null;
  if (format.type === "json_object") return "jsonObject";
  const schema = format.json_schema?.schema;
  if (format.type === "json_schema" && typeof schema === "object") return { jsonSchema: JSON.stringify(schema) };
  if (format.type === "regex" && typeof format.regex === "string") return { regex: format.regex };
  if (format.type === "grammar" && typeof format.grammar === "string") return { lark: format.grammar };
  const expected = "a type of text, json_object, json_schema with a json_schema.schema, regex with a regex, or grammar with a grammar";
  throw wrong("response_format", expected, format);
}

/** The functions that a reply may call, and whether it has to. */
export function tools({ tools = [], tool_choice: choice = "auto", parallel_tool_calls: several = true }) {
  if (typeof several !== "boolean") throw wrong("parallel_tool_calls", "true or false", several);
  const oneCall = !several;
  if (!Array.isArray(tools)) throw wrong("tools", "a list of functions", tools);
  const told = tools.map((tool, i) => {
    if (tool?.type !== "function" || typeof tool.function?.name !== "string") throw wrong(`tools[${i}]`, '{ type: "function", function: { name, … } }', tool);
    const { name, description = null, parameters = { type: "object", properties: {} }, strict = false } = tool.function;
    if (strict !== null && typeof strict !== "boolean") throw wrong(`tools[${i}].function.strict`, "true or false", strict);
    return { name, description, parameters, strict: Boolean(strict) };
  });
  const name = choice?.function?.name;
  if (name !== undefined && !told.some((tool) => tool.name === name)) throw new TypeError(`tool_choice: there is no tool ${name}`);
  if (name !== undefined) return { tools: told, choice: { always: name }, oneCall };
  if (choice === "required" && !told.length) throw new TypeError("tool_choice: there are no tools to choose from");
  const choices = { auto: "auto", none: "never", required: { always: null } };
  if (!Object.hasOwn(choices, choice)) throw wrong("tool_choice", "auto, none, required or a function", choice);
  return { tools: told, choice: choices[choice], oneCall };
}

/** Messages as templates expect them: the arguments of calls are objects, a content is a text, and a developer is the system. */
export function spoken(messages) {
  return messages.map((message, i) => {
    const place = `messages[${i}]`;
    if (!ROLES.includes(message?.role)) throw wrong(`${place}.role`, "system, developer, user, assistant or tool", message?.role);
    // What a reply of ours has is taken back, and what clients make of it.
    const { role, content: said, refusal, tool_calls: calls, annotations, parsed, ...rest } = message;
    const content = said ?? (role === "assistant" ? refusal : undefined);
    if (absent(content) && !(role === "assistant" && calls?.length)) throw wrong(`${place}.content`, "a text or a list of parts", content);
    return {
      ...rest,
      role: role === "developer" ? "system" : role,
      content: absent(content) ? "" : text(content, `${place}.content`),
      ...(calls && { tool_calls: calls.map(call) }),
    };
  });
}

function text(content, place) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw wrong(place, "a text or a list of parts", content);
  const of = (part, i) => {
    if (TEXTS.includes(part?.type) && typeof part.text === "string") return part.text;
    if (part?.type === "refusal" && typeof part.refusal === "string") return part.refusal;
    throw new TypeError(`${place}[${i}]: parts of type ${short(part?.type)} are not read here; this model reads texts`);
  };
  return content.map(of).join("");
}

function call({ function: { name, arguments: given }, ...rest }) {
  let value = given;
  try {
    value = typeof given === "string" ? JSON.parse(given) : given;
  } catch {
    // What a model wrote need not be JSON: it goes back as it came.
  }
  return { ...rest, function: { name, arguments: value } };
}
