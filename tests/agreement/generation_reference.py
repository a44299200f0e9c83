"""What an independent engine (llama.cpp) makes of model files.

Reads jobs, one JSON object a line, from standard input; writes one JSON object a line for each:
  model     path of a GGUF file
  texts     texts to tokenize, with control tokens recognized and without
  messages  a conversation to render with the file's template
  prompt    tokens to read
  steps     how many of the likeliest tokens to append
Logits are base64 of little-endian float32, one row for each token read, the last appended one not read.
"""

import base64
import json
import sys

import jinja2.sandbox
import llama_cpp
import numpy


def render(model, messages):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(model.metadata["tokenizer.chat_template"])

    def text(token):
        return model._model.token_get_text(token) if token != -1 else ""

    return template.render(
        messages=messages,
        add_generation_prompt=True,
        bos_token=text(model.token_bos()),
        eos_token=text(model.token_eos()),
    )


def run(job):
    model = llama_cpp.Llama(
        job["model"], n_ctx=1024, n_batch=256, n_threads=2, logits_all=True, flash_attn=False, verbose=False
    )
    encode = lambda text, special: model.tokenize(text.encode(), add_bos=False, special=special)
    answer = {
        "special": [encode(text, True) for text in job["texts"]],
        "plain": [encode(text, False) for text in job["texts"]],
        "begun": [model.tokenize(text.encode(), add_bos=True, special=True) for text in job["texts"]],
        "rendered": render(model, job["messages"]),
    }
    model.reset()
    model.eval(job["prompt"])
    appended = []
    for step in range(job["steps"]):
        appended.append(int(numpy.argmax(model.scores[model.n_tokens - 1])))
        if step + 1 < job["steps"]:
            model.eval([appended[-1]])
    logits = numpy.ascontiguousarray(model.scores[: model.n_tokens], dtype="<f4")
    answer["appended"] = appended
    answer["logits"] = base64.b64encode(logits.tobytes()).decode()
    model.close()
    return answer


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
