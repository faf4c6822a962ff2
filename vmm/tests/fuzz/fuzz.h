/* What the processor's targets share: the configuration of the `max` model. */
#ifndef BRINGUP_FUZZ_H
#define BRINGUP_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "demand.h"
#include "processor/cpu.h"

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
