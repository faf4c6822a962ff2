/* The trace cache. */
#ifndef BRINGUP_TRACE_H
#define BRINGUP_TRACE_H

#include "arena.h"

struct trace_cache *trace_cache_create(void);
void trace_cache_destroy(struct trace_cache *cache);
/* The one trace that trace_limited fills, of each processor; free() it. */
struct trace *trace_limited_create(void);

/* The trace at RIP: found or decoded. Raises what fetching raises (op NULL). NULL when the cache is full: back to
 * cpu_run, which flushes it. */
struct trace *trace_find(struct processor *cpu);
/* A trace of at most `instructions`, decoded now and not kept: for the end of a budget and for single steps. */
struct trace *trace_limited(struct processor *cpu, unsigned instructions);

/* May `trace` run at RIP, as far as CS's limit goes? */
bool trace_within_limit(const struct processor *cpu, const struct trace *trace);

/* Is `op` of the trace that trace_limited makes (and reuses)? */
bool trace_is_limited(const struct processor *cpu, const struct op *op);

/* Is `op` the only instruction of that trace? */
bool trace_is_alone(const struct processor *cpu, const struct op *op);
/* The linear address of RIP. */
uint64_t trace_linear_rip(const struct processor *cpu);

/* Is an instruction breakpoint in the page of RIP? Its code runs one instruction at a time. No trace goes on from one page
 * to another but by trace_jump_slow, which looks. */
bool trace_near_breakpoint(const struct processor *cpu);

/* Forgets all (no processor is inside a trace). */
void trace_flush(struct arena *arena);

#endif
