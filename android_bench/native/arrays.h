/* Arrays: `.npy` files that must fit a tensor of the model. */

#pragma once

#include "output.h"

enum { MAX_AXES = 8 };

typedef struct {
    int type; /* TfLiteType */
    const char *descr, *name;
    size_t bytes;
} Dtype;

static const Dtype DTYPES[] = {
    {1, "<f4", "float32", 4}, {2, "<i4", "int32", 4}, {3, "|u1", "uint8", 1},    {4, "<i8", "int64", 8},
    {7, "<i2", "int16", 2},   {9, "|i1", "int8", 1},  {11, "<f8", "float64", 8},
};

typedef struct { /* a tensor of the model: its batch is 1 */
    const Dtype *dtype;
    int axes;
    int64_t shape[MAX_AXES];
    size_t bytes;
} Spec;

typedef struct { /* a .npy file in memory; its header says `'descr': …, 'fortran_order': …, 'shape': …` */
    const char *path, *header;
    const unsigned char *data;
    size_t bytes;
} Npy;

typedef struct { /* examples in memory, each of the model's own shape and dtype */
    const unsigned char *data;
    int64_t examples;
} Array;

/* The whole of a file and a closing zero, null when it cannot be read. Files in /proc tell no size. */
static char *read_file(const char *path, size_t *length) {
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    long size = lseek(file, 0, SEEK_END);
    lseek(file, 0, SEEK_SET);
    size_t room = size > 0 ? (size_t)size : 1 << 18;
    char *content = reserve(room + 1, path);
    ssize_t count = 1;
    for (*length = 0; *length < room && count > 0;) {
        count = read(file, content + *length, room - *length);
        if (count < 0 && errno == EINTR)
            count = 1;
        else if (count > 0)
            *length += (size_t)count;
    }
    int failure = errno;
    close(file);
    errno = failure;
    content[*length] = 0;
    return count < 0 ? 0 : content;
}

/* Reads a .npy file of version 1.0 or 2.0. */
static Npy read_npy(const char *path) {
    size_t length;
    char *content = read_file(path, &length);
    if (!content) fail(READING, "cannot read %.500s: %s", path, strerror(errno));
    const unsigned char *bytes = (const unsigned char *)content;
    if (length < 12 || memcmp(content, "\x93NUMPY", 6)) fail(READING, "cannot read %.500s: it is no .npy file", path);
    if (bytes[6] != 1 && bytes[6] != 2)
        fail(READING, "cannot read %.500s: .npy version %d, expected 1 or 2", path, bytes[6]);
    size_t start = bytes[6] == 1 ? 10 : 12, header_length = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] == 2) header_length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (header_length > length - start) fail(READING, "cannot read %.500s: its .npy header is cut off", path);
    char *header = reserve(header_length + 1, path);
    memcpy(header, content + start, header_length);
    header[header_length] = 0;
    start += header_length;
    return (Npy){.path = path, .header = header, .data = bytes + start, .bytes = length - start};
}

/* The value of `key` in the header, behind its colon and blanks. */
static const char *header_value(const Npy *npy, const char *key) {
    const char *at = strstr(npy->header, key);
    at = at ? strchr(at + strlen(key), ':') : 0;
    if (!at) fail(READING, "cannot read %.500s: its .npy header has no %s", npy->path, key);
    for (at++; *at == ' '; at++) {
    }
    return at;
}

/* The axes of a shape such as "(480, 98, 40)", -1 when it is none. */
static int parse_shape(const char *at, int64_t *shape) {
    int axes = 0;
    if (*at++ != '(') return -1;
    for (;;) {
        while (*at == ' ' || *at == ',') at++;
        if (*at == ')') return axes;
        if (axes == MAX_AXES || *at < '0' || *at > '9') return -1;
        int64_t value = 0;
        for (; *at >= '0' && *at <= '9'; at++) {
            value = 10 * value + (*at - '0');
            if (value > INT32_MAX) return -1;
        }
        shape[axes++] = value;
    }
}

/* The examples of a file, which must be of the tensor's dtype and shape but for the first axis. */
static Array fitting(const Npy *npy, const Spec *spec) {
    const char *descr = header_value(npy, "'descr'");
    if (strncmp(header_value(npy, "'fortran_order'"), "False", 5))
        fail(READING, "cannot read %.500s: it is not in C order", npy->path);
    int64_t shape[MAX_AXES];
    int axes = parse_shape(header_value(npy, "'shape'"), shape);
    int fits = axes == spec->axes && shape[0] > 0 && descr[0] == '\'' && !strncmp(descr + 1, spec->dtype->descr, 3) &&
               descr[4] == '\'';
    for (int i = 1; fits && i < axes; i++) fits = shape[i] == spec->shape[i];
    if (!fits) {
        char model[160] = "";
        for (int i = 0, used = 0; i < spec->axes; i++)
            used += snprintf(model + used, sizeof model - (size_t)used, "%s%d", i ? ", " : "", (int)spec->shape[i]);
        fail(READING, "%.500s is %.120s; the model has %s of shape [%s]", npy->path, npy->header, spec->dtype->name,
             model);
    }
    size_t expected = (size_t)shape[0] * spec->bytes; /* below 2^31 examples of below 2^31 bytes */
    if (npy->bytes != expected)
        fail(READING, "cannot read %.500s: it holds %zu bytes of data, its shape says %zu", npy->path, npy->bytes,
             expected);
    return (Array){.data = npy->data, .examples = shape[0]};
}

static Array read_array(const char *path, const Spec *spec) {
    Npy npy = read_npy(path);
    return fitting(&npy, spec);
}

/* One number of a tensor. */
static double number(const Dtype *dtype, const unsigned char *data, size_t index) {
    const unsigned char *at = data + index * dtype->bytes;
    union {
        float f;
        double d;
        int64_t l;
        int32_t i;
        int16_t s;
        int8_t c;
        uint8_t u;
    } value;
    memcpy(&value, at, dtype->bytes);
    switch (dtype->type) {
        case 1: return value.f;
        case 2: return value.i;
        case 3: return value.u;
        case 4: return (double)value.l;
        case 7: return value.s;
        case 9: return value.c;
        default: return value.d;
    }
}

static int is_floating(const Dtype *dtype) { return dtype->type == 1 || dtype->type == 11; }

static int is_finite(double value) { return value - value == 0; }
