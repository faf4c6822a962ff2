/* One instruction, the state before it and after it: what the generator makes, the interpreter and the host run, the
 * comparison reads. cffi reads this file too: plain declarations only. */
#ifndef BRINGUP_ORACLE_H
#define BRINGUP_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#define ORACLE_WINDOW 1024 /* bytes of memory that a case sets; the page boundary is in the middle */
#define ORACLE_BATCH 64
#define ORACLE_FIELDS 12

enum oracle_mode { ORACLE_16 = 0, ORACLE_32 = 1, ORACLE_64 = 2 };

/* What lies around the window: its second page is writable, read-only or absent; or both are beyond 4 GiB. */
enum oracle_terrain { TERRAIN_PLAIN = 0, TERRAIN_READ_ONLY = 1, TERRAIN_ABSENT = 2, TERRAIN_HIGH = 3 };
#define ORACLE_TERRAINS 4

struct oracle_state {
    uint64_t gpr[16]; /* in the order of encoding; with legacy code only the low halves of the first eight */
    uint64_t rip, rflags;
    uint64_t fs_base, gs_base; /* 64-bit mode */
    uint16_t selector[6];      /* ES CS SS DS FS GS */
    uint16_t reserved[2];
    uint8_t fx[512];           /* as FXSAVE64 lays it out */
    uint8_t ymm[16][16];       /* bits 255:128 */
    uint8_t window[ORACLE_WINDOW];
};

struct oracle_case {
    uint8_t mode;    /* enum oracle_mode */
    uint8_t terrain; /* enum oracle_terrain */
    uint8_t length;  /* of what was meant as the instruction */
    uint8_t code[16];
    uint8_t reserved[5];
    uint32_t form;   /* number of the form that it was made from */
    uint32_t reserved2;
    struct oracle_state state; /* rip says where the code goes */
};

#define ORACLE_DONE 0xff   /* no exception */
#define ORACLE_DIED 0xfe   /* the host process did not survive */
#define ORACLE_LEFT 0xfd   /* the interpreter left its run: `error` is enum leave */

struct oracle_result {
    uint32_t vector, error;
    uint64_t cr2;
    uint64_t strays; /* bytes changed beside the window; counted when a case runs alone */
    struct oracle_state state;
};

/* An encoding that the decoder knows, with everything that chooses its handler. */
struct oracle_form {
    uint8_t mode;
    uint8_t map;       /* enum opcode_map; 4 and up: VEX maps 1 to 3 */
    uint8_t opcode;
    uint8_t prefix;    /* 0 none, 1: 66h, 2: F3h, 3: F2h; as VEX.pp */
    uint8_t w, l;      /* REX.W or VEX.W; VEX.L */
    uint8_t reg, rm;   /* of ModRM where they belong to the opcode, else FFh */
    uint8_t operand;   /* 0 no ModRM, 1 register, 2 memory */
    uint8_t size;      /* operand size in bytes */
    uint8_t known;     /* 0: does not exist, must be #UD */
    uint8_t privileged;
    uint8_t away;      /* not run: it would leave the process, or its result is the kernel's */
    uint32_t entry;    /* the first form of the same opcode and operands that does the same: a line of the coverage */
    char name[20];
    uint8_t plain[16]; /* the simplest of its instructions, with NOPs behind it */
};

/* How a form fared. */
struct oracle_tally {
    uint32_t form, runs, done; /* without an exception */
    uint32_t undefined;        /* #UD on both sides */
    uint32_t host_only;        /* the host has it, the processor raises #UD */
    uint32_t died, failures;
};

/* What `oracle` is told on its standard input, after a struct machine_config. */
struct oracle_order {
    uint64_t seed;
    double seconds;      /* how long, unless `rounds` says how often; both 0: `cases` follow */
    uint64_t rounds;     /* so many, however long they take: the same cases on every host */
    uint64_t cases;      /* each is run alone and answered by two results */
    uint32_t same_vendor; /* undefined flags and the vendors' differences are compared too */
    uint32_t worker;
    uint32_t spoil;       /* for the oracle's own tests: the interpreter's ADD is wrong in a bit of RAX */
    uint32_t attempts;    /* more for each form of an entry that has only faulted */
};

/* And what it answers: a struct oracle_report, its forms, its tallies, its failures (case, ours, the host's). */
struct oracle_report {
    uint64_t cases, rounds;
    uint64_t unsteady; /* cases with a difference that did not come again, on equal memory */
    uint64_t astray;   /* cases that met memory of the host's process itself */
    uint32_t forms, failures;
    double seconds, host_seconds;
};
#define ORACLE_MAX_FAILURES 512

struct oracle_failure {
    uint32_t fields, reserved; /* a bit for each of oracle_field_name() */
    struct oracle_case test;
    struct oracle_result ours, host;
};

#endif
