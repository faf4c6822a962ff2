/* Where everything lies, on the host and in the guest alike. */
#ifndef BRINGUP_ORACLE_LAYOUT_H
#define BRINGUP_ORACLE_LAYOUT_H

#include <stdbool.h>

#include "oracle.h"

#define PAGE 4096u

#define CODE_LINEAR 0x10000000u /* two pages; a code segment of 64 KiB begins here */
#define CODE_PAGES 2u
/* A data segment of 64 KiB for each terrain, the window in its middle. */
#define TERRAIN_LINEAR(n) ((n) == TERRAIN_HIGH ? UINT64_C(0x00007a1234560000) : 0x10100000u + 0x100000u * (n))
#define WINDOW_OFFSET 0x7e00u
#define WINDOW_LINEAR(n) (TERRAIN_LINEAR(n) + WINDOW_OFFSET)
#define TERRAIN_PAGE 0x7000u /* the first of its two */

/* Pages of the memory file: code, then two for each terrain. */
#define TERRAIN_FILE(n) ((CODE_PAGES + 2 * (n)) * PAGE)
#define FILE_BYTES TERRAIN_FILE(ORACLE_TERRAINS)

/* The LDT of both. `contents`: 0 data, 1 expand-down, 2 code; all with DPL 3, accessed. */
struct ldt_row {
    uint32_t base, limit; /* limit in pages if `pages` */
    uint8_t wide, contents, read_only, pages, absent;
};
#define LDT(n) ((n) << 3 | 7)
enum ldt_entry {
    LDT_CODE16, LDT_CODE32,
    LDT_DATA16, /* one for each of the first three terrains */
    LDT_DATA32 = LDT_DATA16 + 3, /* the same; the limit is in the window */
    LDT_DOWN16 = LDT_DATA32 + 3, LDT_DOWN32, LDT_READ_ONLY, LDT_EXECUTE_ONLY, LDT_ABSENT,
    LDT_ROWS
};
extern const struct ldt_row ldt_rows[LDT_ROWS];

/* Linux's (arch/x86/include/asm/segment.h). */
#define USER32_CS 0x23u
#define USER_DS 0x2bu
#define USER_CS 0x33u

/* The state by AVX is there on both sides. */
extern bool with_avx;

/* ---- random numbers: splitmix64 ---- */

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
static inline unsigned random_below(uint64_t *state, unsigned limit)
{
    return (unsigned)((uint64_t)(uint32_t)random_next(state) * limit >> 32);
}

/* ---- host.c ---- */

/* False, with a sentence in `why`, when this host cannot be asked. */
bool host_start(char *why, size_t size);
void host_stop(void);
/* Runs the cases; false: the process died, `results` have ORACLE_DIED where it was. */
void host_run(const struct oracle_case *cases, struct oracle_result *results, unsigned count);
void host_clear(void);
void host_copy(const uint8_t *from);
const uint8_t *host_memory(void); /* FILE_BYTES */
/* Is this address beside the cases' pages one that the process has for itself? An address by chance may be. */
bool host_has(uint64_t linear);
void host_restart(void);

/* ---- guest.c ---- */

struct machine_config;
bool guest_start(const struct machine_config *config, char *why, size_t size);
void guest_run(const struct oracle_case *test, struct oracle_result *result);
/* Its two halves, between which the processor's state may be changed; cpu_update() must follow. */
void guest_load(const struct oracle_case *test);
void guest_go(const struct oracle_case *test, struct oracle_result *result);
void guest_clear(void);
uint8_t *guest_memory(void); /* FILE_BYTES, from this physical address; code comes first */
#define GUEST_CODE_PHYSICAL 0x100000u
struct processor *guest_processor(void);

/* ---- forms.c ---- */

extern struct oracle_form *forms;
extern uint32_t form_count;
bool forms_start(void);
uint32_t guest_decode_mode(unsigned mode);

/* ---- cases.c ---- */

void case_make(uint32_t form, struct oracle_case *test, uint64_t *random);

/* ---- compare.c ---- */

/* Bits of the fields that differ. */
uint32_t compare(const struct oracle_case *test, const struct oracle_result *ours, const struct oracle_result *host,
                 bool same_vendor);
/* Must the memory beside the window be equal too? */
bool strays_count(const struct oracle_case *test, bool same_vendor);

#endif
