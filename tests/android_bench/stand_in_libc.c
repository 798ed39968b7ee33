/* The two names of Android's libc that glibc lacks, so that a program for Android can be started on glibc. */
#include <errno.h>
#include <stdlib.h>

typedef void (*Structor)(void);
typedef struct {
    Structor *preinit, *init, *fini;
} Structors;

void __libc_init(void *arguments, void (*on_exit)(void), int (*main)(int, char **), const Structors *structors) {
    (void)on_exit;
    if (structors->fini[0] != (Structor)-1 || structors->fini[1]) abort();
    exit(main((int)*(long *)arguments, (char **)arguments + 1));
}

int *__errno(void) { return &errno; }
