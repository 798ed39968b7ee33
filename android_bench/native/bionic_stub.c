/* Android's libc.so and libdl.so for the linker only: names without bodies worth calling. Never sent to a phone. */

#define STUB(name) \
    void name(void) {}

#ifdef LIBDL
STUB(dlopen) STUB(dlsym) STUB(dlerror)
#else
STUB(__libc_init) STUB(__errno) STUB(_exit)
STUB(open) STUB(read) STUB(write) STUB(close) STUB(lseek)
STUB(clock_gettime) STUB(nanosleep) STUB(sched_getaffinity) STUB(syscall) STUB(getauxval) STUB(malloc) STUB(qsort)
STUB(memset) STUB(memcpy) STUB(memcmp) STUB(strlen) STUB(strcmp) STUB(strncmp) STUB(strchr) STUB(strstr) STUB(strerror)
STUB(snprintf) STUB(vsnprintf)
#endif
