/* The host's own SIMD exceptions, unmasked and caught. */
#ifndef BRINGUP_HOST_TRAP_H
#define BRINGUP_HOST_TRAP_H

#include <stdbool.h>
#include <stdint.h>

/* Calls `work` with MXCSR as given. Returns the exception flags that it left; `trapped`: an unmasked one ended it. SIGFPE
 * that is none of this goes to the handler that was there before. */
uint32_t host_trap_simd(uint32_t mxcsr, void (*work)(void *argument), void *argument, bool *trapped);

#endif
