/* A way to say that something is wrong, for all targets. */
#ifndef BRINGUP_FUZZ_DEMAND_H
#define BRINGUP_FUZZ_DEMAND_H

#include <stdio.h>
#include <stdlib.h>

#define DEMAND(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s: ", #condition);                                                                       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
