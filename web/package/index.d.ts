/** 1-bit and ternary language models in a page: WebGPU, or SIMD on the CPU. Nothing leaves the machine. */

import type { ChatCompletion, ChatCompletionChunk, ChatRequest, Completion, TextRequest, Usage } from "./openai.js";

/** What requests and answers are, as `onebit serve` has them, too. */
export * from "./openai.js";

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

/** Aborting ends the reply; the promise or the iteration rejects with the signal's reason. */
export interface Abortable {
  signal?: AbortSignal;
}

/** What an answer tells beside the tokens: of a server they are among its metrics. */
export interface Timings {
  first_token_ms: number;
  tokens_per_second: number;
}

/** A whole answer, of one reply. */
export type Whole<Answer> = Answer & { usage: Timings & Usage };
/** A piece of an answer. Every stream tells its tokens with the last. */
export type Piece<Answer> = Answer & { usage?: Timings };

/**
 * What is not given, or is null, is as suits the model: as its file says, and else by its size. A parameter of OpenAI's that is not here, or has a
 * value that is not, rejects the request with a TypeError that names it.
 */
export type ChatOptions = ChatRequest & Abortable;
/** As `ChatOptions`. */
export type TextOptions = TextRequest & Abortable;

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
   * The folder that holds the package's files, where no bundler brings them along: on this page's own site, or on one that lets it
   * read them (CORS). Set it before the first engine.
   */
  static files: string | URL | null;

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
      create(options: ChatOptions & { stream: true }): Promise<AsyncIterable<Piece<ChatCompletionChunk>>>;
      create(options: ChatOptions & { stream?: false | null }): Promise<Whole<ChatCompletion>>;
    };
  };

  readonly completions: {
    create(options: TextOptions & { stream: true }): Promise<AsyncIterable<Piece<Completion>>>;
    create(options: TextOptions & { stream?: false | null }): Promise<Whole<Completion>>;
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
