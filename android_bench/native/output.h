/* Lines of JSON on stdout, and the error that ends a run. */

#pragma once

#include "libc.h"

typedef enum { ARGUMENTS = 2, READING, INIT, GOLDEN, INFERENCE, MEMORY, EVAL, INTERNAL = 70 } Stage;

static char line[1 << 16];
static size_t line_length;
static char engine_message[1024]; /* what the engine complained about, the cause first */

static void flush_line(void) {
    for (size_t done = 0; done < line_length;) {
        ssize_t count = write(1, line + done, line_length - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) _exit(INTERNAL);
        done += (size_t)count;
    }
    line_length = 0;
}

/* Appends to the line; one piece is at most 4 KB. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    if (sizeof line - line_length < 4096) flush_line();
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line + line_length, 4096, format, values);
    va_end(values);
    if (length > 0) line_length += (size_t)(length < 4095 ? length : 4095);
}

/* Ends the line and sends it. */
static void end_line(void) {
    say("}\n");
    flush_line();
}

/* Bytes of the UTF-8 sequence at `text`, 0 when it is none. */
static int utf8_length(const unsigned char *text) {
    int length = text[0] < 0x80             ? 1
                 : (text[0] & 0xE0) == 0xC0 ? 2
                 : (text[0] & 0xF0) == 0xE0 ? 3
                 : (text[0] & 0xF8) == 0xF0 ? 4
                                            : 0;
    uint32_t point = text[0] & (length == 1 ? 0x7Fu : 0xFFu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        point = point << 6 | (text[i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    return length && point >= least[length] && point <= 0x10FFFF && (point & ~0x7FFu) != 0xD800 ? length : 0;
}

/* Appends a JSON string of any bytes. */
static void say_text(const char *text) {
    say("\"");
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        int length = utf8_length(at);
        if (length == 0)
            say("\\ufffd");
        else if (length == 1 && (*at < 0x20 || *at == '"' || *at == '\\' || *at == 0x7F))
            say("\\u%04x", *at);
        else
            say("%.*s", length, (const char *)at);
        at += length ? length : 1;
    }
    say("\"");
}

/* The last line of a run that failed, then the exit code of README.md. */
__attribute__((format(printf, 2, 3))) _Noreturn static void fail(Stage stage, const char *format, ...) {
    static const char *const names[] = {"arguments", "reading", "init", "golden", "inference", "memory", "eval"};
    static char message[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    line_length = 0; /* a line that was begun is dropped: nothing half-said reaches the reader */
    say("{\"event\":\"error\",\"stage\":\"%s\",\"message\":",
        stage == INTERNAL ? "internal" : names[stage - ARGUMENTS]);
    say_text(message);
    end_line();
    size_t length = strlen(message);
    message[length < sizeof message - 1 ? length++ : length - 1] = '\n';
    if (write(2, message, length) < 0) { /* the error line has said it */
    }
    _exit(stage);
}

static int64_t read_clock(int clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

/* Time that processors spent on this process, all threads together. */
static int64_t cpu_ns(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

static void *reserve(size_t bytes, const char *what) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) fail(INTERNAL, "cannot reserve %zu bytes for %s", bytes, what);
    return memory;
}
