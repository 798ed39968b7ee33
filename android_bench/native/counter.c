/* A plugin of QEMU's user emulation: instructions between the runner's marks, one line each on stderr.
 *
 *     qemu-aarch64 -plugin file=counter.so … ./runner stages=golden,count …
 *     tkd-instructions <region> <index> <count>        regions and marks: marks.h
 *     tkd-position <what> <row> <parts> <count>        inside the region `operators` only
 *
 * Instructions are counted where a translated block is entered, on one processor: exact for one thread.
 * QEMU 4.2 to 8.x has version 1 of the interface, 9.0 and later counts in a scoreboard (version 2). Both are declared
 * here, weakly: one build serves whichever emulator opens it, and no headers are needed.
 */

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "marks.h"

typedef uint64_t PluginId;
typedef struct Block Block;           /* struct qemu_plugin_tb */
typedef struct Scoreboard Scoreboard; /* struct qemu_plugin_scoreboard */
typedef struct {                      /* qemu_plugin_u64 */
    Scoreboard *score;
    size_t offset;
} Entry;
typedef void OnBlock(PluginId, Block *);
typedef void OnSyscall(PluginId, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t);

enum { INLINE_ADD_U64 = 0 };

#define WEAK __attribute__((weak))
#define EXPORT __attribute__((visibility("default")))

size_t qemu_plugin_tb_n_insns(const Block *);
void qemu_plugin_register_vcpu_tb_trans_cb(PluginId, OnBlock *);
void qemu_plugin_register_vcpu_syscall_cb(PluginId, OnSyscall *);
/* version 1 */
WEAK void qemu_plugin_register_vcpu_tb_exec_inline(Block *, int operation, void *counter, uint64_t value);
/* version 2 */
WEAK Scoreboard *qemu_plugin_scoreboard_new(size_t element_bytes);
WEAK void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(Block *, int operation, Entry, uint64_t value);
WEAK uint64_t qemu_plugin_u64_sum(Entry);

EXPORT int qemu_plugin_version = 1;
static uint64_t counter, at_begin[REGIONS];
static Entry entry;
static int listening;

/* The emulator reads the version after it has opened this file. */
__attribute__((constructor)) static void choose_version(void) {
    if (qemu_plugin_scoreboard_new) qemu_plugin_version = 2;
}

static uint64_t executed(void) { return entry.score ? qemu_plugin_u64_sum(entry) : counter; }

static void on_block(PluginId id, Block *block) {
    (void)id;
    if (entry.score)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, INLINE_ADD_U64, entry, qemu_plugin_tb_n_insns(block));
    else
        qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &counter, qemu_plugin_tb_n_insns(block));
}

static void on_syscall(PluginId id, unsigned processor, int64_t number, uint64_t region, uint64_t index, uint64_t what,
                       uint64_t parts, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)processor, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARK) return;
    if (region == REGION_OPERATOR && listening)
        fprintf(stderr, "tkd-position %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", what, index, parts,
                executed() - at_begin[REGION_OPERATORS]);
    else if (region < REGIONS) {
        if (what == BEGIN)
            at_begin[region] = executed();
        else
            fprintf(stderr, "tkd-instructions %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", region, index,
                    executed() - at_begin[region]);
        listening = region == REGION_OPERATORS && what == BEGIN;
    }
}

EXPORT int qemu_plugin_install(PluginId id, const void *emulator, int count, char **words) {
    (void)emulator, (void)count, (void)words;
    if (qemu_plugin_version == 2) entry.score = qemu_plugin_scoreboard_new(sizeof counter);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
