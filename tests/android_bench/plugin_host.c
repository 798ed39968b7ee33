/* A stand-in for the emulator, for tests of its plugin: one block of 5 and one of 7 instructions, and marks.
 *
 *     cc -DINTERFACE=1 -rdynamic -o host plugin_host.c -ldl     as QEMU up to 8.x; INTERFACE=2: 9.0 and later
 *     ./host counter.so                                         prints the version that the plugin asks for
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Block {
    size_t instructions;
    uint64_t *counter, added;
} Block;
typedef void OnBlock(uint64_t, Block *);
typedef void OnSyscall(uint64_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t);

static OnBlock *on_block;
static OnSyscall *on_syscall;

size_t qemu_plugin_tb_n_insns(const Block *block) { return block->instructions; }
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, OnBlock *callback) { on_block = callback; }
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, OnSyscall *callback) { on_syscall = callback; }

#if INTERFACE == 1
void qemu_plugin_register_vcpu_tb_exec_inline(Block *block, int operation, void *counter, uint64_t value) {
    if (operation == 0) block->counter = counter, block->added = value;
}
#else
enum { PROCESSORS = 3 };
typedef struct {
    char *scores;
    size_t element_bytes;
} Scoreboard;
typedef struct {
    Scoreboard *score;
    size_t offset;
} Entry;
Scoreboard *qemu_plugin_scoreboard_new(size_t element_bytes) {
    Scoreboard *made = malloc(sizeof *made);
    *made = (Scoreboard){calloc(PROCESSORS, element_bytes), element_bytes};
    return made;
}
uint64_t qemu_plugin_u64_sum(Entry entry) {
    uint64_t sum = 0;
    for (int i = 0; i < PROCESSORS; i++)
        sum += *(uint64_t *)(entry.score->scores + (size_t)i * entry.score->element_bytes + entry.offset);
    return sum;
}
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(Block *block, int operation, Entry entry, uint64_t value) {
    if (operation == 0) block->counter = (uint64_t *)(entry.score->scores + entry.offset), block->added = value;
}
#endif

static void execute(Block *block) { *block->counter += block->added; }
static void call(int64_t number, uint64_t region, uint64_t index, uint64_t what, uint64_t parts) {
    on_syscall(1, 0, number, region, index, what, parts, 0, 0, 0, 0);
}

int main(int count, char **words) {
    void *plugin = count == 2 ? dlopen(words[1], RTLD_NOW) : 0;
    if (!plugin) return fprintf(stderr, "%s\n", dlerror()), 1;
    int (*install)(uint64_t, const void *, int, char **);
    *(void **)&install = dlsym(plugin, "qemu_plugin_install");
    int *version = dlsym(plugin, "qemu_plugin_version");
    printf("%d\n", *version);
    if (install(1, 0, 0, 0)) return 2;
    Block five = {5, 0, 0}, seven = {7, 0, 0};
    enum { MARK = 29796, END = 0, BEGIN, FINISHED, CLOCK };
    on_block(1, &five), on_block(1, &seven);

    execute(&five); /* before any region */
    call(MARK, 3, 0, BEGIN, 0), execute(&five), execute(&seven), call(MARK, 5, 0, CLOCK, 0), call(MARK, 3, 0, END, 0);
    call(MARK, 4, 0, BEGIN, 0), execute(&seven), call(MARK, 5, 2, BEGIN, 0), call(MARK, 5, 0, CLOCK, 0);
    execute(&five), call(MARK, 5, 0, CLOCK, 0), call(MARK, 5, 6, FINISHED, 1), call(MARK, 5, 2, END, 0);
    execute(&five), call(MARK, 4, 0, END, 0), call(MARK, 5, 0, CLOCK, 0), call(MARK, 9, 0, END, 0);
    call(64, 3, 0, END, 0);
    return 0;
}
