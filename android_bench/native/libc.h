/* The C library: its own headers, or for Android without the NDK our prototypes. */

#pragma once

#define _GNU_SOURCE

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef TKD_WITHOUT_NDK
#include "bionic.h"
#else
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif
