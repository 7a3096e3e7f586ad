"""What transformers and llama.cpp compute of exported models: zoo_exports.py ZOO DIR, where DIR has hf/NAME and gguf/NAME.gguf.

One line of JSON: for each folder the relative error of logits to ZOO/NAME/expected.safetensors, for each file how far the
log-probabilities behind the prompt are from theirs at most, in deviations of the logits. Needs torch, transformers, xllamacpp."""
import json
import os
import subprocess
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
from safetensors.torch import load_file


def expected(zoo, name):
    return load_file(f"{zoo}/{name}/expected.safetensors")


def transformers(zoo, folder):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(1)
    want = expected(zoo, os.path.basename(folder))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(want["prompt"][None]).logits[0].float()
    return float((logits - want["logits"]).norm() / want["logits"].norm())


def llama(zoo, path):
    """The distance of one file."""
    import xllamacpp
    want = expected(zoo, os.path.basename(path).removesuffix(".gguf"))
    p = xllamacpp.CommonParams()
    p.model.path = path
    p.n_ctx = 128
    p.cpuparams.n_threads = 1
    p.warmup = False
    server = xllamacpp.Server(p)
    r = server.handle_completions({"prompt": want["prompt"].tolist(), "n_predict": 1, "temperature": 0,
                                   "n_probs": want["logits"].shape[1]})
    r = json.loads(r) if isinstance(r, (str, bytes)) else r
    found = {t["id"]: t["logprob"] for t in r["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
    theirs = want["logits"][-1].log_softmax(-1).tolist()
    return max(abs(found[i] - theirs[i]) for i in found) / float(want["logits"][-1].std())


if sys.argv[1] == "--llama":
    print("\nRESULT " + json.dumps(llama(*sys.argv[2:])))
    sys.exit()
zoo, out = sys.argv[1:3]
found = {"hf": {}, "gguf": {}}
for name in sorted(os.listdir(f"{out}/hf")):
    try:
        found["hf"][name] = transformers(zoo, f"{out}/hf/{name}")
    except Exception as e:
        found["hf"][name] = f"{type(e).__name__}: {e}"[:300]
for name in sorted(os.listdir(f"{out}/gguf")):
    r = subprocess.run([sys.executable, __file__, "--llama", zoo, f"{out}/gguf/{name}"], capture_output=True, text=True)
    told = [line[7:] for line in r.stdout.splitlines() if line.startswith("RESULT ")]
    found["gguf"][name.removesuffix(".gguf")] = json.loads(told[0]) if told else (r.stdout + r.stderr)[-600:]
print("\n" + json.dumps(found))
