/* A fixed piece of work that takes as long as the processor's clock and its neighbours make it take. */

#pragma once

#include "output.h"

enum { PROBE_PIECES = 40, PROBE_STEPS = 1 << 20 };

/* xorshift64 (Marsaglia 2003): each step waits for the one before, and no memory is touched. */
static void probe(void) {
    static int64_t pieces[PROBE_PIECES];
    static volatile uint64_t kept;
    uint64_t state = 88172645463325252u;
    for (int piece = 0; piece < PROBE_PIECES; piece++) {
        int64_t before = now_ns();
        for (int step = 0; step < PROBE_STEPS; step++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        kept = state;
        pieces[piece] = now_ns() - before;
    }
    (void)kept;
    say("{\"event\":\"probe\",\"steps\":%d,\"ns\":[", PROBE_STEPS);
    for (int piece = 0; piece < PROBE_PIECES; piece++) say("%s%lld", piece ? "," : "", (long long)pieces[piece]);
    say("]");
    end_line();
}
