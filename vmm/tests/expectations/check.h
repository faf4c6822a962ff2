/* A form's instruction is built and run in a state of the test's making; what it left is held against what is expected
 * of it. */
#ifndef BRINGUP_EXPECT_CHECK_H
#define BRINGUP_EXPECT_CHECK_H

#include <stdarg.h>
#include <string.h>

#include "processor/cpu.h"

#include "../oracle/layout.h"
#include "expect.h"

/* ---- instance.c: an instruction and the state before it ---- */

#define INDEX_LOW 5u /* of a gather; also its high twin, 13 */
#define BOUNDARY (ORACLE_WINDOW / 2) /* where the window's second page begins */

enum addressing { BY_BASE, BY_RIP };

struct instance {
    const struct expectation *e;
    const struct oracle_form *form;
    uint8_t reg, rm, v, fourth, base, index; /* register numbers */
    uint8_t prefix[4], prefixes;             /* before all others */
    enum addressing addressing;
    bool short_vex;
    struct oracle_case test;
    struct oracle_result result;
};

/* Random registers and contents, with the operand at window + `at`. */
void instance_make(struct instance *i, const struct expectation *e, uint64_t *random, enum oracle_terrain terrain,
                   unsigned at);
/* The bytes anew, after a change of the fields above; `v_raw` in place of vvvv unless it is 16 or more. */
void instance_encode(struct instance *i, unsigned v_raw);
/* Where the operand lies, as CR2 would say. */
uint64_t instance_linear(const struct instance *i, unsigned at);
/* The number of a written register. */
unsigned instance_register(const struct instance *i, const struct expected_write *written);

/* Places in FXSAVE's image. */
#define FX_FCW 0
#define FX_FSW 2
#define FX_FTW 4
#define FX_FOP 6
#define FX_FIP 8
#define FX_FDP 16
#define FX_MXCSR 24
#define FX_ST(n) (32 + 16 * (n))
#define FX_XMM(n) (160 + 16 * (n))

static inline uint16_t get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, 2);
    return value;
}
static inline uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}
static inline void put16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, 2);
}
static inline void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

/* ---- difference.c: what changed ---- */

/* NULL, or what a completed instruction did beyond its expectation; `seen`: a bit for each of its writes that was seen,
 * in memory the one behind them. */
const char *unexpected(const struct instance *i, uint32_t *seen);
/* NULL, or what an instruction that faulted changed; `flags`: bits of MXCSR that may be set. */
const char *touched(const struct instance *i, uint32_t flags);

/* ---- faults.c, numbers.c: checks; each says by complain() what is wrong ---- */

void check_operation(const struct expectation *e);
void check_immediates(const struct expectation *e);
void check_memory(const struct expectation *e);
void check_demands(const struct expectation *e);
void check_encoding(const struct expectation *e);
void check_simd_exceptions(const struct expectation *e);
void check_x87_exceptions(const struct expectation *e);
void check_stack(const struct expectation *e);

/* ---- main.c ---- */

extern uint64_t randomness;
void run(struct instance *i);
void __attribute__((format(printf, 2, 3))) complain(const struct instance *i, const char *text, ...);
/* Complains unless it ended so: a vector, or ORACLE_DONE; and changed nothing when that is an exception. */
bool ended(const struct instance *i, unsigned vector, const char *what);

#endif
