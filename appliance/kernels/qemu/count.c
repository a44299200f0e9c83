/* A QEMU plugin that counts the instructions of a user-mode run, for boards that are not at hand.
 *
 *   gcc -shared -fPIC -O2 -o count.so count.c
 *   qemu-aarch64 -cpu cortex-a72 -plugin ./count.so -d plugin -L /usr/aarch64-linux-gnu PROGRAM ...
 *
 * Debian ships QEMU with plugins but without qemu-plugin.h, so the part of the interface (version 1) that is used
 * is declared here. Counts are exact with one thread; with more, increments may be lost. */

#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct tb;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
unsigned long qemu_plugin_tb_n_insns(const struct tb *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct tb *, int operation, void *counter, uint64_t amount);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = 1;

static uint64_t instructions;

static void translated(plugin_id id, struct tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0 /* add */, &instructions, qemu_plugin_tb_n_insns(block));
}

static void at_exit(plugin_id id, void *unused)
{
    char text[64];
    (void)id;
    (void)unused;
    snprintf(text, sizeof text, "instructions: %llu\n", (unsigned long long)instructions);
    qemu_plugin_outs(text);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, at_exit, 0);
    return 0;
}
