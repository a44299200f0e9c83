/* llama.cpp as a worker: FILE on the command line, lines `prefill DEPTH COUNT` or `decode DEPTH COUNT` on standard input, a line for
 * each when it is done. What `compare-engines worker ours` is for our engine; one thread, because instructions are counted. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

enum { CONTEXT = 1024, BATCH = 512 };

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void quiet(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static void read_tokens(struct llama_context *context, llama_token *tokens, int count)
{
    if (llama_decode(context, llama_batch_get_one(tokens, count)) != 0)
        fail("llama_decode failed");
}

int main(int count_of_arguments, char **arguments)
{
    if (count_of_arguments != 2)
        fail("llama_worker FILE");
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(arguments[1], llama_model_default_params());
    if (model == NULL)
        fail("the model cannot be loaded");
    struct llama_context_params parameters = llama_context_default_params();
    parameters.n_ctx = CONTEXT;
    parameters.n_batch = BATCH;
    parameters.n_ubatch = BATCH;
    parameters.n_threads = 1;
    parameters.n_threads_batch = 1;
    parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    struct llama_context *context = llama_init_from_model(model, parameters);
    if (context == NULL)
        fail("no context");
    llama_token tokens[CONTEXT];
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int at = 0; at < CONTEXT; at++)
        tokens[at] = (256 + at * 7919) % (vocabulary / 2);
    puts("ready");
    fflush(stdout);

    char command[16];
    int depth, count, known = 0;
    while (scanf("%15s %d %d", command, &depth, &count) == 3) {
        if (depth < 0 || count < 1 || depth > known || depth + count > CONTEXT)
            fail("a depth that was not read, or beyond the context");
        llama_memory_seq_rm(llama_get_memory(context), 0, depth, -1);
        if (strcmp(command, "prefill") == 0)
            read_tokens(context, tokens + depth, count);
        else
            for (int at = depth; at < depth + count; at++)
                read_tokens(context, tokens + at, 1);
        known = depth + count;
        puts("done");
        fflush(stdout);
    }
    llama_free(context);
    llama_model_free(model);
    return 0;
}
