// Written by `cargo xtask types` from docs/openapi.json: edit the server's tables and schemas instead.
/* What requests and answers are, in the shape of OpenAI's API: the same for this package and for `onebit serve`. */

/** A request for a reply to a conversation. What is not given, or is null, is as suits the model. */
export interface ChatRequest {
  /** The conversation; a last message of the assistant's is written on. */
  messages: Message[];
  /** The model's name, or an adapter's that answers beside it. Where it is not given: the adapter that a fine-tuning kept, if one did, else the model. */
  model?: string | null;
  /** Accepted; changes nothing. */
  user?: string | null;
  /** Accepted; changes nothing. */
  safety_identifier?: string | null;
  /** Accepted; changes nothing. */
  prompt_cache_key?: string | null;
  /** Accepted; changes nothing. */
  prompt_cache_retention?: string | null;
  /** There is one tier. */
  service_tier?: "auto" | "default" | null;
  /** Functions that the model may call. */
  tools?: Tool[] | null;
  /** Whether they are called: auto, as the model likes; none; required; or one function. */
  tool_choice?: ToolChoice | null;
  /** false: a reply has one call at most, the first. */
  parallel_tool_calls?: boolean | null;
  /** The template is given messages and tools alone. */
  chat_template_kwargs?: Record<string, never> | null;
  /** How freely tokens are chosen; 0 = always the most likely one. */
  temperature?: number | null;
  /** Share of the probability to choose from; 0 = always the most likely token. */
  top_p?: number | null;
  /** So many of the most likely tokens are chosen from; 0 or -1 = 256. Not in OpenAI's API. */
  top_k?: number | null;
  /** Makes the tokens of the last lines less likely, 0.1 to 10; 1 = off. Not in OpenAI's API. */
  repetition_penalty?: number | null;
  /** There is `repetition_penalty`. */
  presence_penalty?: 0 | null;
  /** There is `repetition_penalty`. */
  frequency_penalty?: 0 | null;
  /** Logits are not changed here. */
  logit_bias?: Record<string, never> | null;
  /** The same seed gives the same reply; without it, or with -1, another each time. */
  seed?: number | null;
  /** The reply ends before any of these texts. */
  stop?: string | string[] | null;
  /** One reply comes of a request. */
  n?: 1 | null;
  /** Answer by server-sent events. */
  stream?: boolean | null;
  /** `usage` comes with the last piece of every stream, whatever this says. */
  stream_options?: { include_usage?: boolean } | null;
  /** Tokens of the reply, at most; an older name of `max_completion_tokens`. */
  max_tokens?: number | null;
  /** Tokens of the reply, at most; without it, until the context is full. */
  max_completion_tokens?: number | null;
  /** Probabilities are not told here. */
  logprobs?: false | null;
  /** Probabilities are not told here. */
  top_logprobs?: 0 | null;
  /** What the reply has to be. What compiles it is fetched with the first reply of a form. */
  response_format?: ResponseFormat | null;
  /** Nothing is stored. */
  store?: false | null;
  /** Accepted; changes nothing. */
  metadata?: Record<string, unknown> | null;
  /** Replies are texts. */
  modalities?: ["text"] | null;
  /** Models here have no such setting. */
  verbosity?: "medium" | null;
}

/** A request to go on with a text. What is not given, or is null, is as suits the model. */
export interface TextRequest {
  /** The text to go on with. */
  prompt: string;
  /** The model's name, or an adapter's that answers beside it. Where it is not given: the adapter that a fine-tuning kept, if one did, else the model. */
  model?: string | null;
  /** Accepted; changes nothing. */
  user?: string | null;
  /** Accepted; changes nothing. */
  safety_identifier?: string | null;
  /** Accepted; changes nothing. */
  prompt_cache_key?: string | null;
  /** Accepted; changes nothing. */
  prompt_cache_retention?: string | null;
  /** There is one tier. */
  service_tier?: "auto" | "default" | null;
  /** How freely tokens are chosen; 0 = always the most likely one. */
  temperature?: number | null;
  /** Share of the probability to choose from; 0 = always the most likely token. */
  top_p?: number | null;
  /** So many of the most likely tokens are chosen from; 0 or -1 = 256. Not in OpenAI's API. */
  top_k?: number | null;
  /** Makes the tokens of the last lines less likely, 0.1 to 10; 1 = off. Not in OpenAI's API. */
  repetition_penalty?: number | null;
  /** There is `repetition_penalty`. */
  presence_penalty?: 0 | null;
  /** There is `repetition_penalty`. */
  frequency_penalty?: 0 | null;
  /** Logits are not changed here. */
  logit_bias?: Record<string, never> | null;
  /** The same seed gives the same reply; without it, or with -1, another each time. */
  seed?: number | null;
  /** The reply ends before any of these texts. */
  stop?: string | string[] | null;
  /** One reply comes of a request. */
  n?: 1 | null;
  /** Answer by server-sent events. */
  stream?: boolean | null;
  /** `usage` comes with the last piece of every stream, whatever this says. */
  stream_options?: { include_usage?: boolean } | null;
  /** Tokens of the reply, at most. */
  max_tokens?: number | null;
  /** What the reply has to be. What compiles it is fetched with the first reply of a form. */
  response_format?: ResponseFormat | null;
  /** The prompt is not repeated. */
  echo?: false | null;
  /** Every reply is given. */
  best_of?: 1 | null;
  /** Nothing is stored. */
  store?: false | null;
  /** Accepted; changes nothing. */
  metadata?: Record<string, unknown> | null;
}

/** A part of a content: a text. */
export type TextPart =
  | { type: "text" | "input_text" | "output_text"; text: string }
  | { type: "refusal"; refusal: string };

/** A text, by itself or in parts. */
export type Content = string | TextPart[];

/** What the model is told before the conversation. */
export interface SystemMessage {
  role: "system" | "developer";
  content: Content;
  name?: string;
}

/** What the user says. */
export interface UserMessage {
  role: "user";
  content: Content;
  name?: string;
}

/** What the model said or called before. */
export interface AssistantMessage {
  role: "assistant";
  /** Not needed beside calls. */
  content?: Content | null;
  /** Stands for the content where there is none. */
  refusal?: string | null;
  /** Thoughts, for templates that show them. */
  reasoning_content?: string;
  tool_calls?: ToolCall[];
  name?: string;
}

/** What a function gave. */
export interface ToolMessage {
  role: "tool";
  content: Content;
  /** The call's. */
  tool_call_id: string;
  /** The function's. */
  name?: string;
}

/** A message of a conversation. */
export type Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage;

export interface FunctionCall {
  name: string;
  /** JSON. */
  arguments: string;
}

/** A call of a function. */
export interface ToolCall {
  /** What the function gave is told by it. */
  id: string;
  type: "function";
  function: FunctionCall;
}

/** A function that a reply may call. */
export interface Tool {
  type: "function";
  function: {
    name: string;
    description?: string;
    /** A JSON schema, an object's. */
    parameters?: Record<string, unknown>;
    /** A call's arguments are held to the schema, also where the model calls by itself. */
    strict?: boolean | null;
  };
}

/** Whether functions are called: `auto`, as the model likes; `none`; `required`; or the one that is named. */
export type ToolChoice = "auto" | "none" | "required" | { type: "function"; function: { name: string } };

/** What a reply has to be. */
export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | { type: "json_schema"; json_schema: { name?: string; description?: string; strict?: boolean | null; schema: Record<string, unknown> } }
  | {
    type: "regex";
    /** In the syntax of Rust's `regex`. */
    regex: string;
  }
  | {
    type: "grammar";
    /** In llguidance's variant of Lark. */
    grammar: string;
  };

/** Why a reply ended: by itself or before a stop text; it has all the tokens that were asked for, or that there is room for; it calls functions. */
export type FinishReason = "stop" | "length" | "tool_calls";

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: {
    /** Known from requests before. */
    cached_tokens: number;
  };
}

export interface TopLogprob {
  token: string;
  /** Natural logarithm of the probability. */
  logprob: number;
  bytes: number[];
}

/** A token's probability, and those of the likeliest in its place. */
export interface TokenLogprob {
  token: string;
  /** Natural logarithm of the probability. */
  logprob: number;
  bytes: number[];
  top_logprobs: TopLogprob[];
}

export interface Logprobs {
  content: TokenLogprob[];
  refusal: null;
}

/** What a reply is. */
export interface Reply {
  role: "assistant";
  /** null where it only calls functions. */
  content: string | null;
  refusal: null;
  tool_calls?: ToolCall[];
}

export interface ChatChoice {
  index: number;
  message: Reply;
  /** null where they were not asked for. */
  logprobs: Logprobs | null;
  finish_reason: FinishReason;
}

/** The answer to a conversation. */
export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: ChatChoice[];
  usage: Usage;
}

/** What a piece of a stream adds to the reply. */
export interface Delta {
  /** In the first piece. */
  role?: "assistant";
  content?: string;
  /** Each call comes in one piece. */
  tool_calls?: { index: number; id: string; type: "function"; function: FunctionCall }[];
}

export interface ChunkChoice {
  index: number;
  delta: Delta;
  /** null where they were not asked for. */
  logprobs: Logprobs | null;
  /** In the last piece of the reply. */
  finish_reason: FinishReason | null;
}

/** A piece of the answer to a conversation. */
export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: ChunkChoice[];
  /** With the last piece, if `stream_options` ask for it. */
  usage?: Usage | null;
}

export interface TextLogprobs {
  tokens: string[];
  /** Natural logarithms of the probabilities; null where there is nothing before. */
  token_logprobs: (number | null)[];
  /** The likeliest tokens in each place. */
  top_logprobs: (Record<string, number> | null)[];
  /** Characters before each. */
  text_offset: number[];
}

export interface TextChoice {
  index: number;
  text: string;
  /** null where they were not asked for. */
  logprobs: TextLogprobs | null;
  /** null in pieces of a stream before the last. */
  finish_reason: FinishReason | null;
}

/** What a text goes on with, or a piece of that. */
export interface Completion {
  id: string;
  object: "text_completion";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: TextChoice[];
  /** In a stream with the last piece, if `stream_options` ask for it. */
  usage?: Usage | null;
}
