"""Vocabularies and what llama.cpp makes of texts with them: llama_vocab.py FOLDER NAME,NAME,…

Writes FOLDER/NAME.gguf, a model of one small layer, for each pre-tokenizer NAME: byte-level merges that were learned without
cutting texts into words, so that every cut shows in the tokens; and for the names sp and sp-plain a SentencePiece vocabulary
with and without a space before the text. Prints one line of JSON: the texts, and for each name the ids of each text.
Needs gguf, numpy, sentencepiece, tokenizers and xllamacpp."""
import io
import json
import sys
import urllib.request
import gguf
import numpy as np
import sentencepiece
import tokenizers
import xllamacpp

folder, names = sys.argv[1], sys.argv[2].split(",")
TEXTS = [
    "It's 2024, and they've had 1234567 reasons; we'll see: don't SHOUT'S!",
    "  two  spaces   three    four\tone tab\t\ttwo\n\n\nlines\r\n  end  \n ",
    "fn main() { let x = a[i] + b_c * 3.14e-10; // (why?) \"no\" }\n\treturn 0x1F;",
    "HelloWorld camelCase XMLHttpRequest ABCdef aBcD iPhone15Pro",
    "Größe, naïve café, ÉCOLE straße; Ἑλληνικά кириллица Ёж",
    "中文字符和日本語のカタカナ、한국어 텍스트。２０２４年！",
    "हिन्दी में मात्राएँ, ภาษาไทยนี้, العربية ١٢٣، עברית",
    "😀👩‍👩‍👧 emoji… “quotes” — dashes – «guillemets» №5 ½ ²",
    "a.b,c;d!e?f/g\\h|i#j@k$l%m^n&o*p(q)r[s]t{u}v<w>x=y+z~`",
    "1 12 123 1234 12345 123456 1,234.5 ٣٤٥ v1.2.3 3rd 4x4",
    "e\u0301 combining a\u0308o\u0308 \u00a0nbsp\u2003em\u3000wide \ufeffbom zero\u200bwidth",
    "word 'quoted' ''double'' 'tis 'Re 'LL o'clock rock'n'roll l'été",
    "", " ", "\n", "x", "  x", "x  ",
]
HIDDEN = 32


def write(path, fill):
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(64)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(1)
    w.add_feed_forward_length(HIDDEN)
    w.add_head_count(1)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(HIDDEN)
    vocab = fill(w)
    w.add_tensor("token_embd.weight", np.zeros((vocab, HIDDEN), np.float32))
    for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]:
        w.add_tensor(name + ".weight", np.ones(HIDDEN, np.float32))
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]:
        w.add_tensor(f"blk.0.{name}.weight", np.eye(HIDDEN, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def byte_level(pre):
    def fill(w):
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(TOKENS)
        w.add_token_types([3] + [1] * (len(TOKENS) - 1))
        w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in BPE["model"]["merges"]])
        w.add_bos_token_id(0)
        w.add_eos_token_id(0)
        return len(TOKENS)
    return fill


def sentence_piece(prefix):
    def fill(w):
        ids = range(SP.vocab_size())
        w.add_tokenizer_model("llama")
        w.add_token_list([SP.id_to_piece(i) for i in ids])
        w.add_token_scores([SP.get_score(i) for i in ids])
        kind = lambda i: 2 if SP.is_unknown(i) else 3 if SP.is_control(i) else 6 if SP.is_byte(i) else 1
        w.add_token_types([kind(i) for i in ids])
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_add_space_prefix(prefix)
        return SP.vocab_size()
    return fill


trained = tokenizers.Tokenizer(tokenizers.models.BPE())
trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=3000, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False)
trained.train_from_iterator(TEXTS, trainer)
BPE = json.loads(trained.to_str())
TOKENS = [t for t, _ in sorted(BPE["model"]["vocab"].items(), key=lambda entry: entry[1])]
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(t for t in TEXTS if t.strip()), model_writer=model, model_type="bpe", vocab_size=700,
    byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.98,
    minloglevel=2)
SP = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def ids(path):
    p = xllamacpp.CommonParams()
    p.model.path = path
    p.n_ctx = 64
    p.cpuparams.n_threads = 1
    p.warmup = False
    server = xllamacpp.Server(p)
    found = []
    for text in TEXTS:
        body = json.dumps({"content": text, "add_special": False}).encode()
        request = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
        found.append(json.load(urllib.request.urlopen(request))["tokens"])
    return found


out = {}
for name in names:
    path = f"{folder}/{name}.gguf"
    write(path, sentence_piece(name == "sp") if name.startswith("sp") and name != "spark2_5" else byte_level(name))
    out[name] = ids(path)
print("\n" + json.dumps({"texts": TEXTS, "ids": out}))
