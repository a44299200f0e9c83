"""llama.cpp as one of the engines that `compare-engines` measures: FILE THREADS on the command line, commands on stdin."""

import sys
import time

from llama_cpp import Llama

CONTEXT = 2304


def peak():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    # The interpreter's own memory is none of llama.cpp's.
    before = peak()
    started = time.perf_counter()
    llama = Llama(
        model_path=path,
        n_ctx=CONTEXT,
        n_batch=512,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=True,
        verbose=False,
    )
    vocabulary = llama.n_vocab()
    tokens = [(256 + index * 7919) % (vocabulary // 2) for index in range(CONTEXT)]
    print(time.perf_counter() - started, peak() - before, flush=True)
    for line in sys.stdin:
        command, depth, count = line.split()
        depth, count = int(depth), int(count)
        if command == "peak":
            print(peak() - before, flush=True)
            continue
        if llama.n_tokens < depth:
            llama.reset()
            llama.eval(tokens[:depth])
        # What lies beyond is removed by the next evaluation.
        llama.n_tokens = depth
        started = time.perf_counter()
        if command == "prefill":
            llama.eval(tokens[depth : depth + count])
        else:
            for token in tokens[depth : depth + count]:
                llama.eval([token])
        print(time.perf_counter() - started, flush=True)


main()
