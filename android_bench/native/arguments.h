/* The arguments of a run, `key=value`; README.md gives each one's meaning. */

#pragma once

#include "output.h"

static struct {
    const char *engine, *model, *stages, *golden_input, *golden_output, *eval_inputs, *delegate;
    int64_t threads, warmup_ms, warmup_runs, min_timed_ms, min_runs, max_runs, memory_runs, count_runs, count_warmups;
    int64_t golden_bound_ppm, hop_us, sustain_ms;
} args = {.delegate = "xnnpack",
          .threads = 1,
          .warmup_ms = 500,
          .warmup_runs = 1,
          .min_timed_ms = 200,
          .min_runs = 20,
          .max_runs = 200000,
          .memory_runs = 20,
          .count_runs = 5,
          .count_warmups = 2,
           .hop_us = 10000,
           .sustain_ms = 60000,
           .golden_bound_ppm = 100};

static const struct {
    const char *key;
    const char **text;
    int64_t *number, least, most;
} KEYS[] = {
    {"engine", &args.engine, 0, 0, 0},
    {"model", &args.model, 0, 0, 0},
    {"stages", &args.stages, 0, 0, 0},
    {"golden_input", &args.golden_input, 0, 0, 0},
    {"golden_output", &args.golden_output, 0, 0, 0},
    {"eval_inputs", &args.eval_inputs, 0, 0, 0},
    {"delegate", &args.delegate, 0, 0, 0},
    {"threads", 0, &args.threads, 1, 64},
    {"warmup_ms", 0, &args.warmup_ms, 0, 3600000},
    {"warmup_runs", 0, &args.warmup_runs, 1, 10000000},
    {"min_timed_ms", 0, &args.min_timed_ms, 0, 3600000},
    {"min_runs", 0, &args.min_runs, 1, 10000000},
    {"max_runs", 0, &args.max_runs, 1, 10000000},
    {"memory_runs", 0, &args.memory_runs, 1, 10000000},
    {"count_runs", 0, &args.count_runs, 1, 10000},
    {"count_warmups", 0, &args.count_warmups, 0, 10000},
    {"hop_us", 0, &args.hop_us, 1, 60000000},
    {"sustain_ms", 0, &args.sustain_ms, 1, 3600000},
    {"golden_bound_ppm", 0, &args.golden_bound_ppm, 0, 1000000},
};
enum { KEY_COUNT = sizeof KEYS / sizeof KEYS[0] };

static const char *const STAGES[] = {"golden", "latency", "memory", "eval", "count", "profile", "operators", "sustain"};
enum { STAGE_COUNT = sizeof STAGES / sizeof STAGES[0] };
static int wanted[STAGE_COUNT], probing;

static int wants(const char *stage) {
    for (int i = 0; i < STAGE_COUNT; i++)
        if (!strcmp(stage, STAGES[i])) return wanted[i];
    return 0;
}

static int64_t whole_number(const char *key, const char *text, int64_t least, int64_t most) {
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && value <= most; at++) value = 10 * value + (*at - '0');
    if (at == text || *at || value < least || value > most)
        fail(ARGUMENTS, "%s=%.100s: expected a whole number from %lld to %lld", key, text, (long long)least,
             (long long)most);
    return value;
}

static void take_argument(const char *word, uint32_t *seen) {
    const char *equals = strchr(word, '=');
    if (!equals || !equals[1]) fail(ARGUMENTS, "seen '%.200s', expected key=value", word);
    size_t length = (size_t)(equals - word);
    for (int i = 0; i < KEY_COUNT; i++) {
        if (strlen(KEYS[i].key) != length || strncmp(word, KEYS[i].key, length)) continue;
        if (*seen & 1u << i) fail(ARGUMENTS, "argument '%s' is given twice", KEYS[i].key);
        *seen |= 1u << i;
        if (KEYS[i].text)
            *KEYS[i].text = equals + 1;
        else
            *KEYS[i].number = whole_number(KEYS[i].key, equals + 1, KEYS[i].least, KEYS[i].most);
        return;
    }
    fail(ARGUMENTS, "unknown argument '%.*s'", (int)(length < 200 ? length : 200), word);
}

static int take_stages(void) {
    int count = 0;
    if (!strcmp(args.stages, "probe")) return probing = 1;
    for (const char *at = args.stages; at;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        int found = 0;
        for (int i = 0; i < STAGE_COUNT; i++)
            if (strlen(STAGES[i]) == length && !strncmp(at, STAGES[i], length) && !wanted[i]) found = wanted[i] = 1;
        if (!found)
            fail(ARGUMENTS,
                 "stages=%.200s: expected some of golden,latency,memory,eval,count,profile,operators,sustain, each once, or "
                 "probe alone",
                 args.stages);
        count++;
        at = comma ? comma + 1 : 0;
    }
    return count;
}

static void take_arguments(int count, char **words) {
    uint32_t seen = 0;
    for (int i = 1; i < count; i++) take_argument(words[i], &seen);
    if (!args.stages) fail(ARGUMENTS, "missing argument: stages");
    int stages = take_stages();
    if (probing) return;
    if (!args.engine || !args.model) fail(ARGUMENTS, "missing argument: %s", !args.engine ? "engine" : "model");
    if ((wants("memory") || wants("profile")) && stages > 1)
        fail(ARGUMENTS, "stages=%.200s: memory and profile are measured in a process of their own", args.stages);
    if (wants("sustain") && (wants("latency") || wants("eval") || wants("count")))
        fail(ARGUMENTS, "stages=%.200s: sustain goes with golden only", args.stages);
    if (args.sustain_ms * 1000 < args.hop_us)
        fail(ARGUMENTS, "sustain_ms=%lld is shorter than one hop of hop_us=%lld", (long long)args.sustain_ms,
             (long long)args.hop_us);
#ifndef TKD_TICKS
    if (wants("operators")) fail(ARGUMENTS, "operators are counted by the build with -DTKD_TICKS -rdynamic");
#endif
    if ((wants("count") || wants("operators")) && (stages > 1 + wants("golden") || args.threads != 1))
        fail(ARGUMENTS, "count and operators go with golden only, and with threads=1");
    if ((stages > 1 || !wants("eval")) && !(args.golden_input && args.golden_output))
        fail(ARGUMENTS, "stages=%.200s needs golden_input= and golden_output=", args.stages);
    if (wants("eval") && !args.eval_inputs) fail(ARGUMENTS, "stages=eval needs eval_inputs=");
    if (strcmp(args.delegate, "xnnpack") && strcmp(args.delegate, "none"))
        fail(ARGUMENTS, "delegate=%.100s: expected xnnpack or none", args.delegate);
    if (args.min_runs > args.max_runs)
        fail(ARGUMENTS, "min_runs=%lld max_runs=%lld: expected min_runs <= max_runs", (long long)args.min_runs,
             (long long)args.max_runs);
}
