"""Logits [n, vocab] of a folder, f32: transformers_logits.py FOLDER ID,ID,… OUT.safetensors. Needs torch and transformers."""
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

folder, ids, out = sys.argv[1], [int(v) for v in sys.argv[2].split(",")], sys.argv[3]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    save_file({"logits": model(torch.tensor([ids])).logits[0].float().contiguous()}, out)
