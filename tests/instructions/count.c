/* A QEMU plugin that counts the instructions a program has executed, and writes the sum down each time the program writes to its
 * standard output: what lies between two answers is what the second one cost.
 *
 * The declarations are those of QEMU's plugin interface (docs/devel/tcg-plugins in its sources), only what is used here: Debian
 * ships no header. INTERFACE is the version of it that the installed QEMU speaks. */

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id,
    void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

__attribute__((visibility("default"))) int qemu_plugin_version = INTERFACE;

enum { NO_REGISTERS = 0, WRITE = 64, STANDARD_OUTPUT = 1 };

static uint64_t executed;
static FILE *sums;

static void on_run(unsigned processor, void *instructions)
{
    (void)processor;
    /* Threads of the program are threads here. */
    __atomic_fetch_add(&executed, (uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    /* A block that is left early counts whole: jumps end blocks, so that only faults do. */
    void *instructions = (void *)(uintptr_t)qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_run, NO_REGISTERS, instructions);
}

static void on_call(plugin_id id, unsigned processor, int64_t number, uint64_t file, uint64_t a2, uint64_t a3, uint64_t a4,
                    uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)processor, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != WRITE || file != STANDARD_OUTPUT)
        return;
    fprintf(sums, "%" PRIu64 "\n", __atomic_load_n(&executed, __ATOMIC_RELAXED));
    fflush(sums);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    if (count != 1 || strncmp(arguments[0], "sums=", 5) != 0)
        return 1;
    sums = fopen(arguments[0] + 5, "w");
    if (sums == NULL)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
