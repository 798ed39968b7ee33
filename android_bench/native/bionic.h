/* Android's libc without the NDK: its start, and all of it that the runner calls (64 bit only).
 *
 * bionic_stub.c makes the libraries to link against; on the phone the real ones take their place.
 */

#pragma once

typedef long ssize_t;
struct timespec {
    long tv_sec, tv_nsec;
};
enum { O_RDONLY = 0, O_WRONLY = 1, SEEK_SET = 0, SEEK_END = 2, RTLD_NOW = 2, EINTR = 4 };
enum { CLOCK_MONOTONIC = 1, CLOCK_PROCESS_CPUTIME_ID = 2 };
int open(const char *, int, ...);
ssize_t read(int, void *, size_t);
ssize_t write(int, const void *, size_t);
int close(int);
long lseek(int, long, int);
int clock_gettime(int, struct timespec *);
int nanosleep(const struct timespec *, struct timespec *);
int sched_getaffinity(int, size_t, void *);
long syscall(long, ...);
unsigned long getauxval(unsigned long);
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
char *dlerror(void);
void *malloc(size_t);
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);
int strcmp(const char *, const char *);
int strncmp(const char *, const char *, size_t);
char *strchr(const char *, int);
char *strstr(const char *, const char *);
char *strerror(int);
int snprintf(char *, size_t, const char *, ...);
int vsnprintf(char *, size_t, const char *, va_list);
void qsort(void *, size_t, size_t, int (*)(const void *, const void *));
_Noreturn void _exit(int);
int *__errno(void);
#define errno (*__errno())

/* What the NDK's crtbegin does: hand over main, and lists of constructors that end at once.
 * Older libcs read lists that begin with -1 and end with 0, newer ones read counts, which are 0. */
typedef void (*Structor)(void);
typedef struct {
    Structor *preinit, *init, *fini;
    size_t counts[3];
} Structors;
_Noreturn void __libc_init(void *arguments, void (*on_exit)(void), int (*main)(int, char **), const Structors *);
int main(int count, char **words);

__attribute__((used)) _Noreturn static void start(void *arguments) {
    static Structor none[] = {(Structor)-1, 0};
    static const Structors structors = {.preinit = none, .init = none, .fini = none};
    __libc_init(arguments, 0, main, &structors);
}
__asm__(".text\n.globl _start\n.type _start,%function\n_start: mov x29, #0\nmov x30, #0\nmov x0, sp\nb start\n");
