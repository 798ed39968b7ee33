/* What the engine's profiler tells, one row per operator: times for stage `profile`, marks for stage `operators`. */

#pragma once

#include "arguments.h"
#include "engine.h"
#include "marks.h"

enum { MAX_OPS = 1024 };

static int makes_marks; /* set once, so that a mark costs a handful of instructions */

static void mark_parts(int region, int64_t index, int what, uint64_t parts) {
    if (makes_marks) syscall(MARK, region, index, what, parts);
}

static void mark(int region, int64_t index, int what) { mark_parts(region, index, what, 0); }

#ifdef TKD_OWN_CLOCK
/* In the place of the C library's, for the engine too. While instructions are counted, the time is the number of
 * readings, in microseconds: ruy looks at the processor anew every 250 ms, so that equal inferences would differ. */
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int64_t readings;
    if (!makes_marks) return (int)syscall(SYS_clock_gettime, clock, at);
#ifdef TKD_TICKS
    mark(REGION_OPERATOR, 0, CLOCK);
#endif
    readings++;
    at->tv_sec = readings / 1000000;
    at->tv_nsec = readings % 1000000 * 1000;
    return 0;
}
#endif

static struct {
    char name[64];
    int64_t index, subgraph, calls, total_ns, begun_ns;
} ops[MAX_OPS];
static int op_count, profiling;

static uint32_t op_row(const char *name, int64_t index, int64_t subgraph) {
    for (int i = 0; i < op_count; i++)
        if (ops[i].index == index && ops[i].subgraph == subgraph && !strncmp(ops[i].name, name, sizeof ops[i].name - 1))
            return (uint32_t)i;
    if (op_count == MAX_OPS) fail(INTERNAL, "the model has more than %d operators, the room of a profile", MAX_OPS);
    snprintf(ops[op_count].name, sizeof ops[0].name, "%s", name);
    ops[op_count].index = index;
    ops[op_count].subgraph = subgraph;
    return (uint32_t)op_count++;
}

static uint32_t begin_op(Profiler *profiler, const char *name, int64_t index, int64_t subgraph) {
    (void)profiler;
    uint32_t row = op_row(name, index, subgraph);
    if (makes_marks)
        mark(REGION_OPERATOR, row, BEGIN);
    else
        ops[row].begun_ns = now_ns();
    return row;
}

static void end_op(Profiler *profiler, uint32_t row) {
    (void)profiler;
    mark(REGION_OPERATOR, row, END);
    ops[row].calls += profiling;
    if (!makes_marks) ops[row].total_ns += profiling * (now_ns() - ops[row].begun_ns);
}

static void finished_op(Profiler *profiler, const char *name, uint64_t elapsed, int64_t index, int64_t subgraph) {
    (void)profiler;
    uint32_t row = op_row(name, index, subgraph);
    mark_parts(REGION_OPERATOR, row, FINISHED, elapsed);
    ops[row].calls += profiling;
    ops[row].total_ns += profiling * (int64_t)elapsed * 1000; /* a delegate reports microseconds */
}

static void ignore_event(Profiler *profiler, const char *name, uint64_t status) {
    (void)profiler, (void)name, (void)status;
}
static void ignore_op_event(Profiler *profiler, const char *name, int64_t index, int64_t subgraph, uint64_t status) {
    (void)profiler, (void)name, (void)index, (void)subgraph, (void)status;
}
static void ignore_settings(Profiler *profiler, const char *name, const void *settings) {
    (void)profiler, (void)name, (void)settings;
}

static Profiler profiler = {0, ignore_event, ignore_op_event, ignore_settings, begin_op, end_op, finished_op};

/* Says each row that ran, and of it what `say_numbers` says. */
static void say_ops(void (*say_numbers)(int row)) {
    say(",\"ops\":[");
    for (int i = 0, said = 0; i < op_count; i++) {
        if (!ops[i].calls) continue;
        say("%s{\"name\":", said++ ? "," : "");
        say_text(ops[i].name);
        say(",\"index\":%lld,\"subgraph\":%lld,\"calls\":%lld,", (long long)ops[i].index, (long long)ops[i].subgraph,
            (long long)ops[i].calls);
        say_numbers(i);
        say("}");
    }
    say("]");
}
static void say_times(int row) { say("\"total_ns\":%lld", (long long)ops[row].total_ns); }
static void say_row(int row) { say("\"row\":%d", row); }
