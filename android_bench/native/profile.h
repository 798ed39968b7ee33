/* What each operator costs, as the engine's profiler reports it; stage `profile` says it. */

#pragma once

#include "engine.h"
#include "output.h"

enum { MAX_OPS = 1024 };

static struct {
    char name[64];
    int64_t index, subgraph, calls, total_ns, begun_ns;
} ops[MAX_OPS];
static int op_count, profiling;

static uint32_t op_row(const char *name, int64_t index, int64_t subgraph) {
    for (int i = 0; i < op_count; i++)
        if (ops[i].index == index && ops[i].subgraph == subgraph && !strncmp(ops[i].name, name, sizeof ops[i].name - 1))
            return (uint32_t)i;
    if (op_count == MAX_OPS) fail(INTERNAL, "the model has more than %d operators, the room of stage profile", MAX_OPS);
    snprintf(ops[op_count].name, sizeof ops[0].name, "%s", name);
    ops[op_count].index = index;
    ops[op_count].subgraph = subgraph;
    return (uint32_t)op_count++;
}

static uint32_t begin_op(Profiler *profiler, const char *name, int64_t index, int64_t subgraph) {
    (void)profiler;
    uint32_t row = op_row(name, index, subgraph);
    ops[row].begun_ns = now_ns();
    return row;
}

static void end_op(Profiler *profiler, uint32_t row) {
    (void)profiler;
    ops[row].calls += profiling;
    ops[row].total_ns += profiling * (now_ns() - ops[row].begun_ns);
}

static void finished_op(Profiler *profiler, const char *name, uint64_t elapsed, int64_t index, int64_t subgraph) {
    (void)profiler;
    uint32_t row = op_row(name, index, subgraph);
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
