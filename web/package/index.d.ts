/** 1-bit and ternary language models in a page: WebGPU, or SIMD on the CPU. Nothing leaves the machine. */

/** Where to run. "auto" (the default): a real GPU if there is one, else the CPU. */
export type Device = "auto" | "cpu" | "gpu";

export interface Progress {
  phase: "download" | "load";
  /** Bytes. */
  loaded: number;
  /** 0 where the server does not say. */
  total: number;
}

export interface LoadOptions {
  device?: Device;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface ModelInfo {
  name: string;
  description: string;
  fileBytes: number;
  parameters: number;
  /** Bytes in memory. */
  weightBytes: number;
  cacheBytes: number;
  /** Whether it has a chat template. */
  chat: boolean;
  device: { kind: "cpu" | "gpu"; name: string; software: boolean };
  /** Why it runs there. */
  deviceReason: string;
  config: Record<string, unknown>;
  bitMap: Record<string, unknown>;
  loadMs: number;
}

export interface SamplingOptions {
  /** 0 always takes the likeliest token. */
  temperature?: number;
  top_p?: number;
  /** At most 256. */
  top_k?: number;
  /** 1 is off. */
  repetition_penalty?: number;
  /** Another for every reply where none is given. */
  seed?: number;
  max_tokens?: number;
  /** The reply ends before any of these texts. */
  stop?: string | string[];
  /** Aborting ends the reply; the promise or the iteration rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
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

export type FinishReason = "stop" | "length";

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

export type ChatCompletion = Answer<"chat.completion", { index: 0; message: Message; finish_reason: FinishReason }>;
export type ChatCompletionChunk = Answer<
  "chat.completion.chunk",
  { index: 0; delta: { role?: "assistant"; content: string }; finish_reason: FinishReason | null }
>;
export type Completion = Answer<"text_completion", { index: 0; text: string; finish_reason: FinishReason | null }>;

export interface ChatOptions extends SamplingOptions {
  messages: Message[];
}

export interface TextOptions extends SamplingOptions {
  prompt: string;
}

/** A model, ready to answer. Requests wait for each other. */
export class Engine {
  private constructor();

  /**
   * Loads a `.1bit` file. One from an address, which must be on this page's own site, is kept in the browser and goes on
   * where it ended after an interruption.
   */
  static load(source: string | File | Blob, options?: LoadOptions): Promise<Engine>;

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

  /** Ends the worker, whatever it does. */
  close(): void;
}
