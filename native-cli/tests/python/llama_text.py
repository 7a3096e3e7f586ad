"""What llama.cpp writes behind a text, and the tokens of a chat's prompt, as one line of JSON: llama_text.py MODEL.gguf TEXT COUNT.
Needs xllamacpp."""
import json
import sys
import xllamacpp

path, text, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
p = xllamacpp.CommonParams()
p.model.path = path
p.n_ctx = 64
p.cpuparams.n_threads = 1
p.warmup = False
p.use_jinja = True
server = xllamacpp.Server(p)
parsed = lambda r: json.loads(r) if isinstance(r, (str, bytes)) else r
r = parsed(server.handle_completions({"prompt": text, "n_predict": count, "temperature": 0}))
chat = {"messages": [{"role": "user", "content": text}], "max_tokens": 1, "temperature": 0}
tokens = parsed(server.handle_chat_completions(chat))["usage"]["prompt_tokens"]
print("\n" + json.dumps({"text": r["choices"][0]["text"], "chat": tokens}))
