/* A plugin of QEMU's user emulation: instructions between the runner's marks, one line each on stderr.
 *
 *     qemu-aarch64 -plugin file=counter.so … ./runner stages=golden,count …
 *     tkd-instructions <region> <index> <count>        regions and marks: runner.c
 *
 * Instructions are counted where a translated block is entered, on one processor: exact for one thread.
 * Plugin API version 1 (QEMU 4.2 to 8.x), declared here: no headers are needed.
 */

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t PluginId;
typedef struct Block Block; /* struct qemu_plugin_tb */
typedef void OnBlock(PluginId, Block *);
typedef void OnSyscall(PluginId, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t);

enum { API_VERSION = 1, INLINE_ADD_U64 = 0, MARK = 29796, REGIONS = 4 };

size_t qemu_plugin_tb_n_insns(const Block *);
void qemu_plugin_register_vcpu_tb_exec_inline(Block *, int operation, void *counter, uint64_t value);
void qemu_plugin_register_vcpu_tb_trans_cb(PluginId, OnBlock *);
void qemu_plugin_register_vcpu_syscall_cb(PluginId, OnSyscall *);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = API_VERSION;
static uint64_t executed, at_begin[REGIONS];

static void on_block(PluginId id, Block *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void on_syscall(PluginId id, unsigned processor, int64_t number, uint64_t region, uint64_t index,
                       uint64_t begins, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)processor, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARK || region >= REGIONS) return;
    if (begins)
        at_begin[region] = executed;
    else
        fprintf(stderr, "tkd-instructions %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", region, index,
                executed - at_begin[region]);
}

EXPORT int qemu_plugin_install(PluginId id, const void *emulator, int count, char **words) {
    (void)emulator, (void)count, (void)words;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
