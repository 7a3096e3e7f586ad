/** 1-bit and ternary language models in a page: WebGPU, or SIMD on the CPU. Nothing leaves the machine. */

/** Where to run. "auto" (the default): a real GPU if there is one, else the CPU. */
export type Device = "auto" | "cpu" | "gpu";

export interface Progress {
  phase: "download" | "import" | "load";
  /** Bytes. */
  loaded: number;
  /** 0 where the server does not say. */
  total: number;
}

export interface LoadOptions {
  device?: Device;
  /** Precision of the keys and values kept of a text: "f32" is exactly what was computed; "f16", the default, takes half the memory, "q8" a quarter. */
  kv?: "f32" | "f16" | "q8";
  /** Threads of the CPU, at most as many as the page may have, which is the default. A page that its server does not isolate has one. */
  threads?: number;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface ImportOptions extends LoadOptions {
  /** What the model is called among those kept in the browser: the first file's name where it is not given. */
  name?: string;
  /**
   * Precision of embedding and head. "keep", the default, leaves them ternary or binary where the files have them so, and makes F16 of floats;
   * "eightbit" is smaller and faster than F16; "f32" leaves all floats of the checkpoint as they are.
   */
  head?: "keep" | "f32" | "f16" | "eightbit";
}

export interface ModelInfo {
  name: string;
  description: string;
  fileBytes: number;
  parameters: number;
  /** Tokens that it reads at once: fewer than its config says where the memory holds no more. */
  context: number;
  /** Bytes in memory. */
  weightBytes: number;
  cacheBytes: number;
  /** The most memory the worker's program has held so far; what a GPU holds is not counted. */
  programBytes: number;
  /** Whether it has a chat template. */
  chat: boolean;
  /** Names of the adapters that requests can ask for, and the one that answers where they do not say. */
  adapters: string[];
  adapter?: string;
  device: { kind: "cpu" | "gpu"; name: string; software: boolean };
  /** Why it runs there. */
  deviceReason: string;
  config: Record<string, unknown>;
  bitMap: LayerBitMap;
  loadMs: number;
}

/**
 * What is not given, or is null, is as suits the model: as its file says, and else by its size. A parameter of OpenAI's that is not here, or has a
 * value that is not, rejects the request with a TypeError that names it.
 */
export interface SamplingOptions {
  /** 0 always takes the likeliest token; at most 2. */
  temperature?: number | null;
  top_p?: number | null;
  /** At most 256; 0 or -1 is 256. */
  top_k?: number | null;
  /** 1 is off. */
  repetition_penalty?: number | null;
  /** Another for every reply where none is given, or -1. */
  seed?: number | null;
  max_tokens?: number | null;
  /** The reply ends before any of these texts. */
  stop?: string | string[] | null;
  /** What a reply has to be. What compiles it is fetched with the first reply of a form. */
  response_format?: ResponseFormat;
  /** The model's name, or an adapter's that answers beside it. Where it is not given: the adapter that a fine-tuning kept, if one did, else the model. */
  model?: string;
  /** Aborting ends the reply; the promise or the iteration rejects with the signal's reason. */
  signal?: AbortSignal;
  /** `usage` comes with the last chunk of every stream, whatever this says. */
  stream_options?: { include_usage?: boolean } | null;
  /** Of these only what changes nothing. */
  n?: 1 | null;
  presence_penalty?: 0 | null;
  frequency_penalty?: 0 | null;
  logit_bias?: Record<string, never> | null;
  store?: false | null;
  service_tier?: "auto" | "default" | null;
  user?: string;
  safety_identifier?: string;
  prompt_cache_key?: string;
  prompt_cache_retention?: string | null;
  metadata?: Record<string, string> | null;
}

export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | { type: "json_schema"; json_schema: { name?: string; description?: string; strict?: boolean; schema: Record<string, unknown> } }
  /** In the syntax of Rust's `regex`. */
  | { type: "regex"; regex: string }
  /** In llguidance's variant of Lark. */
  | { type: "grammar"; grammar: string };

/** A function that a reply may call. */
export interface Tool {
  type: "function";
  /** `parameters` is a JSON schema, an object's. `strict`: a call's arguments are held to it, also where the model calls by itself. */
  function: { name: string; description?: string; parameters?: Record<string, unknown>; strict?: boolean | null };
}

export interface ToolCall {
  id: string;
  type: "function";
  /** `arguments` is JSON. */
  function: { name: string; arguments: string };
}

/** A text, by itself or in parts. */
export type Content = string | { type: "text"; text: string }[];

export type Message =
  | { role: "system" | "developer" | "user"; content: Content; name?: string }
  | { role: "assistant"; content?: Content | null; tool_calls?: ToolCall[]; name?: string }
  | { role: "tool"; content: Content; tool_call_id: string };

/** What a reply is. */
export interface Reply {
  role: "assistant";
  /** null where it only calls functions. */
  content: string | null;
  tool_calls?: ToolCall[];
}

export interface Usage {
  prompt_tokens: number;
  /** Taken from the cache of the request before. */
  prompt_tokens_details: { cached_tokens: number };
  completion_tokens: number;
  total_tokens: number;
  first_token_ms: number;
  tokens_per_second: number;
}

export type FinishReason = "stop" | "length" | "tool_calls";

interface Answer<Name extends string, Choice> {
  id: string;
  object: Name;
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: [Choice];
  /** In a stream with the last chunk only. */
  usage?: Usage;
}

export type ChatCompletion = Answer<"chat.completion", { index: 0; message: Reply; finish_reason: FinishReason }>;
export type ChatCompletionChunk = Answer<
  "chat.completion.chunk",
  { index: 0; delta: { role?: "assistant"; content: string; tool_calls?: (ToolCall & { index: number })[] }; finish_reason: FinishReason | null }
>;
export type Completion = Answer<"text_completion", { index: 0; text: string; finish_reason: FinishReason | null }>;

export interface ChatOptions extends SamplingOptions {
  messages: Message[];
  /** Functions that the reply may call; what they gave goes back in as messages of the role "tool". */
  tools?: Tool[];
  /** "auto", the default: as the model likes. */
  tool_choice?: "auto" | "none" | "required" | { type: "function"; function: { name: string } };
  /** OpenAI's newer name of `max_tokens`, which it goes before. */
  max_completion_tokens?: number | null;
  /** Of these only what changes nothing. */
  logprobs?: false | null;
  top_logprobs?: 0 | null;
  parallel_tool_calls?: true;
  modalities?: ["text"] | null;
  verbosity?: "medium" | null;
  chat_template_kwargs?: Record<string, never>;
}

export interface TextOptions extends SamplingOptions {
  prompt: string;
  /** Of these only what changes nothing. */
  echo?: false | null;
  best_of?: 1 | null;
}

export type Precision = "f32" | "f16" | "eightbit" | "ternary" | "binary";

/** The precision of every part, as `onebit search` writes it. */
export interface LayerBitMap {
  embedding: Precision;
  /** Of a layer, or of each of its matrices. */
  layer_modes: (Precision | Record<string, Precision>)[];
  lm_head: Precision;
}

export interface Weights {
  name: string;
  mode: Precision;
  rows: number;
  columns: number;
  /** Rows that are here: of a very large matrix the first ones. */
  shownRows: number;
  /** i8 codes, row by row; empty where the mode is f16. */
  codes: Uint8Array;
  /** f32 values, little-endian, where the mode is f16. */
  values: Uint8Array;
  scales: number[];
  scalePer: "none" | "tensor" | "row" | "group";
  group: number;
  /** How far they are from those of a file beside, as a share of their size. */
  error?: number;
}

export interface BitMap {
  readonly map: LayerBitMap;
  /** A matrix by its name, e.g. "model.layers.0.mlp.up_proj.weight". */
  weights(name: string): Promise<Weights>;
  /** Mean loss of a text, in nats per token, with the model in a bit-map. */
  measure(text: string, map?: LayerBitMap): Promise<{ loss: number; perplexity: number }>;
  /** The model's `.1bit` in a bit-map. */
  export(map?: LayerBitMap): Promise<File>;
  /** Goes on with the model in a bit-map. */
  apply(map: LayerBitMap): Promise<ModelInfo>;
}

export interface TuneOptions {
  text: string;
  /** Of adapters beside the frozen model; without it every weight is trained. */
  rank?: number;
  /** Twice the rank where it is not given. */
  alpha?: number;
  steps?: number;
  learning_rate?: number;
  batch_size?: number;
  seq_len?: number;
  seed?: number;
  onPoint?: (point: TunePoint) => void;
  onSample?: (sample: { step: number; prompt: string; text: string }) => void;
  /** Aborting ends it early, with what it learnt until then. */
  signal?: AbortSignal;
}

export interface TunePoint {
  step: number;
  /** Nats per token; missing where nothing was measured. */
  loss?: number;
  /** On the tenth of the text that is held back. */
  validation?: number;
  learningRate: number;
  tokensPerSecond: number;
}

export interface Tuned {
  step: number;
  done: boolean;
  points: TunePoint[];
  /** A `.1bit`, or the adapters as safetensors. */
  file(keep?: "model" | "adapter"): Promise<File>;
  /** Answers with it from now on. */
  keep(): Promise<ModelInfo>;
}

/** A model, ready to answer. Requests wait for each other. */
export class Engine {
  private constructor();

  /**
   * Loads a `.1bit` file. One from an address, which must be on this page's own site, is kept in the browser and goes on
   * where it ended after an interruption.
   */
  static load(source: string | File | Blob, options?: LoadOptions): Promise<Engine>;

  /**
   * Makes a `.1bit` of a published model and loads it: a GGUF file, or the files of a Hugging Face folder (configuration,
   * tokenizer, safetensors). It is kept in the browser; files that were imported before are not imported again.
   */
  static import(files: File | Iterable<File>, options?: ImportOptions): Promise<Engine>;

  readonly model: ModelInfo;

  readonly chat: {
    readonly completions: {
      create(options: ChatOptions & { stream: true }): Promise<AsyncIterable<ChatCompletionChunk>>;
      create(options: ChatOptions & { stream?: false }): Promise<ChatCompletion>;
    };
  };

  readonly completions: {
    create(options: TextOptions & { stream: true }): Promise<AsyncIterable<Completion>>;
    create(options: TextOptions & { stream?: false }): Promise<Completion>;
  };

  /**
   * Has an adapter beside the model, which stays where it is: requests ask for it by its name, as `model`. The files are those of
   * PEFT, `adapter_model.safetensors` and `adapter_config.json`, or one file that a fine-tuning here wrote.
   */
  addAdapter(name: string, files: File | Blob | Iterable<File>): Promise<void>;

  /** Logits after each of these tokens, row by row: as many as the vocabulary has tokens for each. */
  logits(ids: Iterable<number>): Promise<Float32Array>;

  /** Looks into the model and changes its precision. */
  bitmap(): BitMap;

  /** Continues training on a text, on this machine. */
  finetune(options: TuneOptions): Promise<Tuned>;

  /** Ends the worker, whatever it does. */
  close(): void;
}
