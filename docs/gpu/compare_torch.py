#!/usr/bin/env python3
"""The shapes of `onebit bench --suite gpu` in PyTorch, eager and compiled, in f32 and bf16.

Products of square matrices, training steps of ternary decoders (fake-quantized weights and int8
activations, straight-through gradients, AdamW), and decode steps. Prints a line for each
measurement and writes them all as JSON.
"""

import argparse
import json
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

# layers, hidden, heads, ffn, vocabulary, context, batch, tied: as `bench --train` has them.
TRAINING = {
    "small": (4, 128, 4, 512, 65, 64, 12, True),
    "5m": (6, 256, 8, 688, 65, 256, 8, True),
    "78m": (8, 512, 8, 1472, 50257, 512, 4, False),
    "350m": (24, 1024, 16, 2752, 50257, 1024, 4, True),
}
# layers, hidden, heads, kv heads, ffn, vocabulary.
DECODING = {"110M": (12, 768, 12, 12, 2048, 32000), "2B4T": (30, 2560, 20, 5, 6912, 128256)}


def ternary(weight):
    scale = weight.abs().mean(dim=1, keepdim=True).clamp(min=1e-5)
    quantized = (weight / scale).round().clamp(-1, 1) * scale
    return weight + (quantized - weight).detach()


def int8(x):
    scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5) / 127
    return x + ((x / scale).round() * scale - x).detach()


class BitLinear(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x):
        return F.linear(int8(x), ternary(self.weight))


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Block(nn.Module):
    def __init__(self, hidden, heads, ffn):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([Norm(hidden), Norm(hidden)])
        self.qkv, self.o = BitLinear(hidden, 3 * hidden), BitLinear(hidden, hidden)
        self.gate_up, self.down = BitLinear(hidden, 2 * ffn), BitLinear(ffn, hidden)

    def forward(self, x, cos, sin):
        batch, length, hidden = x.shape
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        split = lambda t: t.view(batch, length, self.heads, -1).transpose(1, 2)
        q, k = rotate(split(q), cos, sin), rotate(split(k), cos, sin)
        y = F.scaled_dot_product_attention(q, k, split(v), is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, hidden))
        gate, up = self.gate_up(self.norms[1](x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Decoder(nn.Module):
    def __init__(self, layers, hidden, heads, ffn, vocab, context, tied):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList([Block(hidden, heads, ffn) for _ in range(layers)])
        self.norm, self.head = Norm(hidden), nn.Linear(hidden, vocab, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        half = hidden // heads // 2
        angles = torch.outer(torch.arange(context), 10000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids, targets):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos.to(x.dtype), self.sin.to(x.dtype))
        logits = self.head(self.norm(x)).float()
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def seconds_of(run, wait, enough):
    """Seconds of one call, the mean of as many as take about `enough` seconds."""
    run(), run(), wait()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < enough:
        run()
        wait()
        calls += 1
    return (time.perf_counter() - start) / calls


def products(device, wait, sizes, enough):
    for size in sizes:
        for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
            a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
            took = seconds_of(lambda: a @ b.T, wait, enough)
            yield {"kind": "product", "precision": name, "size": size, "tera_per_second": 2 * size**3 / took / 1e12}


def training(device, wait, shapes, enough):
    for name in shapes:
        layers, hidden, heads, ffn, vocab, context, batch, tied = TRAINING[name]
        for precision in ("f32", "bf16"):
            for compiled in (False, True):
                torch.manual_seed(1)
                model = Decoder(layers, hidden, heads, ffn, vocab, context, tied).to(device)
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device == "cuda")
                forward = torch.compile(model) if compiled else model
                ids = torch.randint(vocab, (batch, context + 1), device=device)

                def step():
                    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                        loss = forward(ids[:, :-1], ids[:, 1:].contiguous())
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)

                took = seconds_of(step, wait, enough)
                yield {
                    "kind": "training", "shape": name, "precision": precision,
                    "mode": "compiled" if compiled else "eager", "tokens_per_second": batch * context / took,
                }


def decoding(device, wait, shapes, enough):
    """A token through matrices in half precision: PyTorch has no ternary ones."""
    for name in shapes:
        layers, hidden, heads, kv_heads, ffn, vocab = DECODING[name]
        kv = hidden // heads * kv_heads
        make = lambda *shape: torch.randn(*shape, device=device, dtype=torch.bfloat16) * 0.02
        blocks = [
            (make(hidden + 2 * kv, hidden), make(hidden, hidden), make(2 * ffn, hidden), make(hidden, ffn))
            for _ in range(layers)
        ]
        head, x = make(vocab, hidden), make(1, hidden)

        def token(x):
            for qkv, o, gate_up, down in blocks:
                x = x + F.linear(F.linear(x, qkv)[:, :hidden], o)
                gate, up = F.linear(x, gate_up).chunk(2, dim=-1)
                x = x + F.linear(F.silu(gate) * up, down)
            return F.linear(x, head).argmax(-1)

        for mode, run in (("eager", token), ("compiled", torch.compile(token))):
            with torch.no_grad():
                took = seconds_of(lambda: run(x), wait, enough)
            yield {"kind": "decode, bf16 matrices alone", "shape": name, "mode": mode, "tokens_per_second": 1 / took}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", help="JSON file")
    arguments.add_argument("--quick", action="store_true", help="small shapes, for a CPU")
    arguments = arguments.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    quick = arguments.quick
    enough = 0.2 if quick else 3.0
    found = {"device": name, "torch": torch.__version__, "measurements": []}
    runs = [
        lambda: products(device, wait, [256] if quick else [1024, 2048, 4096], enough),
        lambda: decoding(device, wait, ["110M"] if quick else list(DECODING), enough),
        lambda: training(device, wait, ["small"] if quick else ["5m", "78m", "350m"], enough),
    ]
    for run in runs:
        try:
            for measurement in run():
                print(measurement, flush=True)
                found["measurements"].append(measurement)
        except Exception as error:  # What one compiler or card cannot do costs the rest nothing.
            print(f"failed: {error}", flush=True)
            found.setdefault("failures", []).append(str(error))
        if arguments.output:
            with open(arguments.output, "w", encoding="utf-8") as file:
                json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
