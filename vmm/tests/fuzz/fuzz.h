/* What the targets share: the configuration of the `max` model, and a way to say that something is wrong. */
#ifndef BRINGUP_FUZZ_H
#define BRINGUP_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "processor/cpu.h"

#define DEMAND(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s: ", #condition);                                                                       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* From the file that FUZZ_CONFIGURATION names: a struct machine_config. */
static inline struct machine_config read_configuration(void)
{
    struct machine_config config;
    const char *name = getenv("FUZZ_CONFIGURATION");
    FILE *file = name ? fopen(name, "rb") : NULL;
    if (!file || fread(&config, sizeof config, 1, file) != 1) {
        fprintf(stderr, "FUZZ_CONFIGURATION does not name a configuration\n");
        exit(2);
    }
    fclose(file);
    return config;
}

#endif
