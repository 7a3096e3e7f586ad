"""Greedy tokens of llama.cpp as one line of JSON: llama_greedy.py MODEL.gguf ID,ID,… COUNT. Needs xllamacpp."""
import json
import sys
import xllamacpp

path, ids, count = sys.argv[1], [int(v) for v in sys.argv[2].split(",")], int(sys.argv[3])
p = xllamacpp.CommonParams()
p.model.path = path
p.n_ctx = 128
p.cpuparams.n_threads = 1
p.warmup = False
server = xllamacpp.Server(p)
r = server.handle_completions({"prompt": ids, "n_predict": count, "ignore_eos": True, "temperature": 0, "n_probs": 1})
r = json.loads(r) if isinstance(r, (str, bytes)) else r
print("\n" + json.dumps([t["id"] for t in r["choices"][0]["logprobs"]["content"]]))
