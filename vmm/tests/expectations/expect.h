/* What the manual says of a form, and what was found wrong with it. cffi reads this file too: plain declarations
 * only. */
#ifndef BRINGUP_EXPECT_H
#define BRINGUP_EXPECT_H

#include <stdint.h>

/* What an instruction asks of CR0, CR4, XCR0, the mode and the x87 state. */
enum demand {
    DEMAND_EM_UD = 1,       /* #UD with CR0.EM */
    DEMAND_EM_NM = 2,       /* #NM with CR0.EM */
    DEMAND_TS = 4,          /* #NM with CR0.TS */
    DEMAND_TS_MP = 8,       /* #NM with CR0.TS and MP, not with TS alone */
    DEMAND_OSFXSR = 16,     /* #UD without CR4.OSFXSR */
    DEMAND_AVX = 32,        /* #UD without CR4.OSXSAVE, XCR0.SSE or XCR0.AVX */
    DEMAND_WAIT = 64,       /* #MF with an x87 exception pending */
    DEMAND_NO_WAIT = 128,   /* none with one */
    DEMAND_PROTECTED = 256, /* #UD in real mode */
    DEMAND_MMX_STATE = 512  /* TOP becomes 0, all tags valid */
};

/* A register that is written. */
enum expected_kind {
    KIND_GPR16 = 1, /* the rest stays */
    KIND_GPR32,     /* zero-extended in 64-bit code */
    KIND_GPR64,
    KIND_XMM,       /* bits 255:128 stay */
    KIND_XMM_ZERO,  /* bits 255:128 are cleared */
    KIND_YMM,
    KIND_MM,
    KIND_ST
};
enum expected_place { PLACE_REG, PLACE_RM, PLACE_V, PLACE_FIXED };
struct expected_write {
    uint8_t kind, place, number, reserved;
};
#define EXPECT_WRITES 4

/* Other state that is written. */
enum expected_other {
    OTHER_X87 = 1, OTHER_MXCSR = 2, OTHER_LOW = 4, OTHER_HIGH = 8, /* of all vector registers */
    OTHER_TAGS = 16, OTHER_FCW = 32
};

struct expectation {
    uint32_t form;
    uint16_t demands;
    uint16_t bytes;      /* of the memory operand; 0: none */
    uint16_t flags, cleared; /* RFLAGS bits that are written, those that are cleared */
    uint8_t alignment;   /* of it; 1: any */
    uint8_t writes;      /* memory */
    uint8_t check_ac;    /* #AC when it is not aligned, with AC set */
    uint8_t modrm, immediates;
    uint8_t v_used;      /* VEX.vvvv names an operand */
    uint8_t by_rdi;      /* the memory operand is at DS:rDI */
    uint8_t masked;      /* bytes of an element, of which VEX.vvvv chooses */
    uint8_t gathers;     /* bytes of an element: VSIB */
    uint8_t mm_reg, mm_rm; /* these fields of ModRM name MMX registers: three bits */
    uint8_t general_reg, general_rm, general_v; /* general registers */
    uint8_t mxcsr, x87;  /* exceptions that can come, as MXCSR and FSW have them */
    uint8_t notes;       /* FIP and FOP, with an operand in memory FDP */
    uint8_t pushes, pops, turns; /* the x87 stack; turns: TOP changes by it, modulo 8 */
    uint8_t zero;        /* memory must hold zeros */
    uint8_t others;      /* enum expected_other */
    uint8_t feature, reserved; /* number in the list of features, from 1 */
    struct expected_write written[EXPECT_WRITES];
};

struct expect_feature {
    char name[20];
    uint8_t present, reserved[3];
};

struct expect_failure {
    uint32_t form;
    uint8_t length, code[15];
    char text[140];
};

/* On standard input: a struct machine_config, then this. `list`: the answer is a uint32_t number of forms, the forms, a
 * uint32_t number of features, the features. Else as many expectations follow, and the answer is a struct expect_report
 * with its failures. */
struct expect_order {
    uint32_t list, expectations;
};
struct expect_report {
    uint64_t runs;
    uint32_t failures, reserved;
};

#endif
