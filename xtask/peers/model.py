"""Random ternary models for measuring speed, the same weights in two files:

  model.py SHAPE FOLDER

writes FOLDER/SHAPE-tq2.gguf (TQ2_0, embedding and head Q6_K) and FOLDER/SHAPE-f16.gguf (the same
values in F16, for another program to quantize). SHAPE is 100m, or 2b4t, that of BitNet b1.58 2B4T.
"""

import sys

import gguf
import numpy

# hidden, layers, heads, key heads, FFN, vocabulary, RoPE base
SHAPES = {
    "100m": (768, 12, 12, 12, 2048, 32000, 10000.0),
    "2b4t": (2560, 30, 20, 5, 6912, 128256, 500000.0),
}
CONTEXT = 16384
SCALE = numpy.float16(0.02)
TQ2_0, Q6_K = gguf.GGMLQuantizationType.TQ2_0, gguf.GGMLQuantizationType.Q6_K


def main(shape, folder):
    hidden, layers, heads, key_heads, ffn, vocabulary, base = SHAPES[shape]
    random = numpy.random.default_rng(1)
    files = [gguf.GGUFWriter(f"{folder}/{shape}-{kind}.gguf", "llama") for kind in ("tq2", "f16")]
    # Some programs insist on a vocabulary: bytes, and words that stand for nothing.
    words = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    words += [f"w{i}" for i in range(len(words), vocabulary)]
    kinds += [1] * (vocabulary - len(kinds))
    for file in files:
        file.add_name(f"random {shape}")
        file.add_tokenizer_model("llama")
        file.add_token_list(words)
        file.add_token_scores([-float(i) for i in range(vocabulary)])
        file.add_token_types(kinds)
        file.add_bos_token_id(1)
        file.add_eos_token_id(2)
        file.add_vocab_size(vocabulary)
        file.add_context_length(CONTEXT)
        file.add_embedding_length(hidden)
        file.add_block_count(layers)
        file.add_feed_forward_length(ffn)
        file.add_head_count(heads)
        file.add_head_count_kv(key_heads)
        file.add_rope_dimension_count(hidden // heads)
        file.add_rope_freq_base(base)
        file.add_layer_norm_rms_eps(1e-5)

    def norm(name, length):
        for file in files:
            file.add_tensor(name, numpy.ones(length, numpy.float32))

    def ternary(name, rows, columns):
        # A block of 256: 64 bytes, each with codes 32 columns apart, and a scale.
        codes = random.integers(0, 3, (rows, columns // 256, 2, 4, 32), dtype=numpy.uint8)
        packed = numpy.empty((rows, columns // 256, 66), numpy.uint8)
        shifts = numpy.array([0, 2, 4, 6], numpy.uint8)[:, None]
        packed[..., :64] = (codes << shifts).sum(-2, dtype=numpy.uint8).reshape(rows, -1, 64)
        packed[..., 64:] = numpy.frombuffer(SCALE.tobytes(), numpy.uint8)
        files[0].add_tensor(name, packed.reshape(rows, -1), raw_dtype=TQ2_0)
        values = (codes.astype(numpy.int8) - 1).astype(numpy.float16) * SCALE
        files[1].add_tensor(name, values.reshape(rows, columns))

    def embedding(name, rows, columns):
        # A block of 256: 192 bytes of codes, 16 scales, and one of all.
        packed = random.integers(0, 256, (rows, columns // 256, 210), dtype=numpy.uint8)
        packed[..., 192:208] = 1
        packed[..., 208:] = numpy.frombuffer(numpy.float16(0.001).tobytes(), numpy.uint8)
        packed = packed.reshape(rows, -1)
        files[0].add_tensor(name, packed, raw_dtype=Q6_K)
        files[1].add_tensor(name, gguf.dequantize(packed, Q6_K).astype(numpy.float16))

    # Without an output matrix the embedding is the head, too.
    embedding("token_embd.weight", vocabulary, hidden)
    norm("output_norm.weight", hidden)
    keys = key_heads * hidden // heads
    for layer in range(layers):
        at = f"blk.{layer}."
        norm(at + "attn_norm.weight", hidden)
        norm(at + "ffn_norm.weight", hidden)
        ternary(at + "attn_q.weight", hidden, hidden)
        ternary(at + "attn_k.weight", keys, hidden)
        ternary(at + "attn_v.weight", keys, hidden)
        ternary(at + "attn_output.weight", hidden, hidden)
        ternary(at + "ffn_gate.weight", ffn, hidden)
        ternary(at + "ffn_up.weight", ffn, hidden)
        ternary(at + "ffn_down.weight", hidden, ffn)
    for file in files:
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_tensors_to_file()
        file.close()


main(*sys.argv[1:])
