"""Tokens per second of another program, as JSON:

  speed.py ik|llama MODEL THREADS PROMPTS CONTEXTS TOKENS

PROMPTS are lengths to measure prefill with, CONTEXTS tokens before those that are decoded, both with
commas between; TOKENS are decoded. `ik` is ik_llama.cpp (ik-llama-cpp-python), `llama` llama.cpp
(xllamacpp).
"""

import json
import random
import sys
import time


def ik(model, threads, prompts, contexts, tokens):
    from ik_llama_cpp import _ctypes_api as api
    from ik_llama_cpp import _internals as internals

    api.llama_backend_init()
    options = api.llama_model_default_params()
    options.n_gpu_layers = 0
    loaded = api.llama_model_load_from_file(model.encode(), options)
    vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(loaded))
    options = api.llama_context_default_params()
    options.n_ctx = max(prompts + [context + tokens + 1 for context in contexts]) + 64
    options.n_batch = options.n_ubatch = 512
    options.n_threads = options.n_threads_batch = threads
    # What is faster there: flash attention for a prompt, not for single tokens.
    options.flash_attn = True
    prefill = api.llama_init_from_model(loaded, options)
    options.flash_attn = False
    single = api.llama_init_from_model(loaded, options)

    def feed(context, length, at):
        ids = [random.randrange(vocabulary) for _ in range(length)]
        for first in range(0, length, 512):
            batch = internals.make_batch_range(ids[first : first + 512], pos_start=at + first)
            if api.llama_decode(context, batch) != 0:
                raise RuntimeError("decoding failed")
            api.llama_get_logits_ith(context, batch.n_tokens - 1)
            api.llama_batch_free(batch)

    def timed(work, count):
        start = time.perf_counter()
        work()
        return count / (time.perf_counter() - start)

    def decode(at):
        for position in range(at, at + tokens):
            feed(single, 1, position)

    feed(prefill, 32, 0)
    feed(single, 1, 0)
    speeds = {"prefill": {}, "decode": {}}
    for prompt in prompts:
        api.llama_kv_cache_clear(prefill)
        speeds["prefill"][prompt] = timed(lambda: feed(prefill, prompt, 0), prompt)
    for before in contexts:
        api.llama_kv_cache_clear(single)
        if before:
            feed(single, before, 0)
        feed(single, 1, before)
        speeds["decode"][before] = timed(lambda: decode(before + 1), tokens)
    return speeds


def llama(model, threads, prompts, contexts, tokens):
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = model
    options.n_ctx = max(prompts + [context + tokens + 1 for context in contexts]) + 64
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
    options.warmup, options.n_parallel = True, 1
    server = xllamacpp.Server(options)

    def complete(prompt, count):
        answer = server.handle_completions(
            {
                "prompt": [random.randrange(3, 30000) for _ in range(prompt)],
                "n_predict": count,
                "ignore_eos": True,
                "cache_prompt": False,
                "temperature": 0,
            }
        )
        if isinstance(answer, (str, bytes)):
            answer = json.loads(answer)
        return answer.get("timings") or answer["__verbose"]["timings"]

    complete(32, 1)
    prefill = {prompt: complete(prompt, 1)["prompt_per_second"] for prompt in prompts}
    decode = {
        before: complete(max(before, 1), tokens)["predicted_per_second"] for before in contexts
    }
    return {"prefill": prefill, "decode": decode}


engine, model, threads, prompts, contexts, tokens = sys.argv[1:]
numbers = [[int(n) for n in given.split(",")] for given in (prompts, contexts)]
random.seed(1)
run = {"ik": ik, "llama": llama}[engine]
print(json.dumps(run(model, int(threads), *numbers, int(tokens))))
