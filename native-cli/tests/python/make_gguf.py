"""Writes a small random model with the gguf package: make_gguf.py OUT ARCHITECTURE TYPE [EMBEDDING HEAD].

Ternary types hold random codes times 0.09, others normal weights. Embedding and head are F16 where no type is given; what the
gguf package cannot quantize llama.cpp does. Needs gguf, numpy and xllamacpp."""
import ctypes
import sys
import numpy as np
import gguf
from gguf import GGMLQuantizationType as Type

out, architecture, kind = sys.argv[1:4]
ends = sys.argv[4:6] or ["f16", "f16"]
hidden, layers, heads, kv_heads, ffn, vocab = 256, 2, 4, 2, 512, 300
head_dim = hidden // heads
rng = np.random.default_rng(5)

w = gguf.GGUFWriter(out, architecture)
w.add_name("tiny")
w.add_vocab_size(vocab)
w.add_context_length(128)
w.add_embedding_length(hidden)
w.add_block_count(layers)
w.add_feed_forward_length(ffn)
w.add_head_count(heads)
w.add_head_count_kv(kv_heads)
w.add_layer_norm_rms_eps(1e-5)
w.add_rope_freq_base(10000.0)
w.add_rope_dimension_count(head_dim)

# The tests speak in ids; every token is a text, so that the server tells each.
tokens = ["<|endoftext|>", "w", "q", "wq"] + [f"w{i}" for i in range(4, vocab)]
w.add_tokenizer_model("gpt2")
w.add_tokenizer_pre("gpt-2")
w.add_token_list(tokens)
w.add_token_types([3 if t == tokens[0] else 1 for t in tokens])
w.add_token_merges(["w q"])
w.add_bos_token_id(0)
w.add_eos_token_id(0)
w.add_add_bos_token(False)


def put(name, values, kind="f32"):
    kind = Type[kind.upper()]
    values = values.astype(np.float32)
    if kind == Type.F32:
        w.add_tensor(name, values)
    elif kind in (Type.Q4_K, Type.Q6_K):
        w.add_tensor(name, by_llama(values, kind), raw_dtype=kind)
    else:
        w.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def by_llama(values, kind):
    import xllamacpp.xllamacpp as built
    library = ctypes.CDLL(built.__file__)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    rows, cols = values.shape
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    packed = np.zeros((rows, cols // weights * size), np.uint8)
    values = np.ascontiguousarray(values)
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
    count = lambda n: ctypes.c_int64(n)
    written = library.ggml_quantize_chunk(
        int(kind), pointer(values), pointer(packed), count(0), count(rows), count(cols), None)
    assert written == packed.size, (written, packed.size)
    return packed


def norm(n):
    return 1 + 0.2 * rng.standard_normal(n)


def matrix(rows, cols):
    if kind.startswith("tq"):
        return rng.integers(-1, 2, (rows, cols)) * 0.09
    return rng.standard_normal((rows, cols)) * 0.09


def end(kind, std):
    if kind.startswith("tq"):
        return rng.integers(-1, 2, (vocab, hidden)) * std
    return rng.standard_normal((vocab, hidden)) * std


put("token_embd.weight", end(ends[0], 0.05), ends[0])
put("output_norm.weight", norm(hidden))
if architecture != "bitnet":
    put("output.weight", end(ends[1], 0.1), ends[1])
for i in range(layers):
    b = f"blk.{i}."
    put(b + "attn_norm.weight", norm(hidden))
    put(b + "ffn_norm.weight", norm(hidden))
    if architecture == "bitnet":
        put(b + "attn_sub_norm.weight", norm(hidden))
        put(b + "ffn_sub_norm.weight", norm(ffn))
    if architecture == "qwen3":
        put(b + "attn_q_norm.weight", norm(head_dim))
        put(b + "attn_k_norm.weight", norm(head_dim))
    kv = head_dim * kv_heads
    for name, rows, cols in [
        ("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden), ("attn_output", hidden, hidden),
        ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn),
    ]:
        put(b + name + ".weight", matrix(rows, cols), kind)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
