/* Instruction marks: how the runner tells the emulator's plugin where it is.
 *
 *     syscall(MARK, region, index, what, readings)
 *
 * The number is no system call of Linux: a kernel answers ENOSYS and nothing happens.
 * Only the stages `count` and `operators` make marks.
 */

#pragma once

enum { MARK = 29796 };

enum {
    REGION_INIT = 1,
    REGION_FIRST,
    REGION_INFERENCE,
    REGION_OPERATORS, /* one inference with the engine's profiler; inside it the plugin tells positions */
    REGIONS,
    REGION_OPERATOR = REGIONS, /* `index` is the operator's row */
};

/* A delegate tells which operators ran only after all have, but reads the clock before the first and behind each part
 * of one. The clock of the build `ticks` shows how often it was read, so that an operator's time is its parts. */
enum { END, BEGIN, FINISHED, CLOCK };
