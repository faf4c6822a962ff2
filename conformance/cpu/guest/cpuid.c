/* CPUID agrees with itself, and with what instructions and control registers do (SDM vol. 2 CPUID). */
#include "behaviour.h"

BEHAVIOUR(id_flag, "SDM vol. 1 3.4.3.3: EFLAGS.ID can be changed, which says that there is CPUID")
{
    set_flags(FLAG_ID);
    bool set = get_flags() & FLAG_ID;
    set_flags(FLAG_RESERVED);
    expect(set && !(get_flags() & FLAG_ID), "EFLAGS.ID does not change");
}

BEHAVIOUR(leaves, "SDM vol. 2 CPUID: leaf 0 gives the highest leaf and a vendor in letters; the extended range starts at 80000000H")
{
    struct cpuid leaf = cpuid(0, 0);
    expect(leaf.eax >= 1 && leaf.eax < 0x1000, "the highest leaf is %xh", leaf.eax);
    const uint32_t vendor[] = {leaf.ebx, leaf.edx, leaf.ecx};
    for (unsigned i = 0; i < 12; i++) {
        char c = (char)(vendor[i / 4] >> i % 4 * 8);
        expect(c >= ' ' && c < 0x7f, "byte %u of the vendor is %xh", i, (unsigned)c & 0xff);
    }
    uint32_t extended = cpuid(0x80000000, 0).eax;
    expect(extended >= 0x80000001 && extended < 0x80001000, "the highest extended leaf is %xh", extended);
}

BEHAVIOUR(repeatable, "SDM vol. 2 CPUID: leaves 0 and 1 are the same each time; ECX and the upper halves of the input do not matter")
{
    for (unsigned i = 0; i < 20; i++) {
        struct cpuid a = cpuid(i % 2, 0), b = cpuid(i % 2, i * 77);
        expect(a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx, "leaf %u changes", i % 2);
    }
}

BEHAVIOUR(implications, "SDM vol. 1 chapters 5, 13, 14: features that rest on others come with them")
{
    const struct {
        struct feature feature, needs;
    } rules[] = {
        {FEATURE_SSE, FEATURE_FXSR},     {FEATURE_SSE2, FEATURE_SSE},       {FEATURE_SSE3, FEATURE_SSE2},
        {FEATURE_SSSE3, FEATURE_SSE3},   {FEATURE_SSE4_1, FEATURE_SSSE3},   {FEATURE_SSE4_2, FEATURE_SSE4_1},
        {FEATURE_AVX, FEATURE_XSAVE},    {FEATURE_AVX2, FEATURE_AVX},       {FEATURE_LM, FEATURE_PAE},
        {FEATURE_LM, FEATURE_NX},        {FEATURE_LM, FEATURE_MSR},         {FEATURE_LM, FEATURE_CX8},
        {FEATURE_CX16, FEATURE_LM},      {FEATURE_PCID, FEATURE_LM},        {FEATURE_PDPE1GB, FEATURE_LM},
        {FEATURE_APIC, FEATURE_MSR},     {FEATURE_TSC_DEADLINE, FEATURE_APIC}, {FEATURE_RDTSCP, FEATURE_TSC},
        {FEATURE_NX, FEATURE_PAE},       {FEATURE_PAT, FEATURE_MSR},        {FEATURE_MTRR, FEATURE_MSR},
    };
    for (unsigned i = 0; i < sizeof rules / sizeof *rules; i++)
        expect(!has(rules[i].feature) || has(rules[i].needs), "CPUID shows %s without %s", rules[i].feature.name,
               rules[i].needs.name);
}

BEHAVIOUR(shown_works, "SDM vol. 2: what CPUID shows does not raise #UD: CMOV, MMX, SSE, SSE2, SSE3, RDTSCP, CX8, CLFLUSH")
{
    set_cr4(get_cr4() | CR4_OSFXSR);
    static uint8_t line[64];
#define WORKS(feature, text)                                                                                           \
    if (has(feature)) {                                                                                                \
        struct trap trap = CATCH(asm volatile(text : : "D"(line) : "eax", "ecx", "edx", "memory"));                    \
        expect(trap.vector == NONE, "CPUID shows %s, and it raises vector %u", feature.name, trap.vector);             \
    }
    WORKS(FEATURE_CMOV, "cmovz %%ecx, %%eax")
    WORKS(FEATURE_MMX, "movd %%eax, %%mm0; emms")
    WORKS(FEATURE_FXSR, "jmp 1f; 1:")
    WORKS(FEATURE_SSE, "xorps %%xmm0, %%xmm0")
    WORKS(FEATURE_SSE2, "pxor %%xmm0, %%xmm0")
    WORKS(FEATURE_SSE3, "haddps %%xmm0, %%xmm0")
    WORKS(FEATURE_SSSE3, "pabsb %%xmm0, %%xmm0")
    WORKS(FEATURE_SSE4_1, "ptest %%xmm0, %%xmm0")
    WORKS(FEATURE_SSE4_2, "crc32b %%al, %%ecx")
    WORKS(FEATURE_CLFSH, "clflush (%%edi)")
    WORKS(FEATURE_TSC, "rdtsc")
    WORKS(FEATURE_RDTSCP, "rdtscp")
#undef WORKS
}

BEHAVIOUR(osxsave, "SDM vol. 2 CPUID: OSXSAVE shows CR4.OSXSAVE, and without it XGETBV is #UD")
{
    expect(!has(FEATURE_OSXSAVE), "OSXSAVE is shown with CR4.OSXSAVE clear");
    expect_fault(CATCH(asm volatile(MARK "1: xgetbv" : : "c"(0) : "eax", "edx")), UD, 0);
    need(FEATURE_XSAVE);
    set_cr4(get_cr4() | CR4_OSXSAVE);
    expect(has(FEATURE_OSXSAVE), "OSXSAVE is not shown with CR4.OSXSAVE set");
    uint32_t eax;
    asm volatile("xgetbv" : "=a"(eax) : "c"(0) : "edx");
    expect(eax & 1, "XCR0 is %xh, bit 0 is always set", eax);
    expect_fault(CATCH(asm volatile(MARK "1: xsetbv" : : "c"(0), "a"(0), "d"(0))), GP, 0); /* x87 off */
    expect_fault(CATCH(asm volatile(MARK "1: xsetbv" : : "c"(0), "a"(5), "d"(0))), GP, 0); /* AVX without SSE */
    expect_fault(CATCH(asm volatile(MARK "1: xsetbv" : : "c"(1), "a"(1), "d"(0))), GP, 0); /* no such XCR */
}

BEHAVIOUR(cr4_reserved, "SDM vol. 3 2.5: CR4 bits of features that CPUID does not show are reserved: setting one is #GP(0)")
{
    const struct {
        word bit;
        struct feature feature;
    } bits[] = {
        {CR4_VME, FEATURE_VME},   {CR4_FSGSBASE, FEATURE_FSGSBASE}, {CR4_OSXSAVE, FEATURE_XSAVE}, {CR4_SMEP, FEATURE_SMEP},
        {CR4_SMAP, FEATURE_SMAP}, {CR4_PKE, FEATURE_PKU},           {CR4_UMIP, FEATURE_UMIP},     {CR4_PGE, FEATURE_PGE},
    };
    for (unsigned i = 0; i < sizeof bits / sizeof *bits; i++) {
        struct trap trap = CATCH(set_cr4(get_cr4() | bits[i].bit));
        bool shown = has(bits[i].feature);
        expect(trap.vector == (shown ? NONE : GP), "CR4 bit of %s: vector %x; CPUID shows it: %u", bits[i].feature.name,
               trap.vector, shown);
        if (shown)
            set_cr4(get_cr4() & ~bits[i].bit);
    }
    bool may = has(FEATURE_LA57) && sizeof(word) == 4; /* in IA-32e mode the paging mode stays */
    expect(CATCH(set_cr4(get_cr4() | CR4_LA57)).vector == (may ? NONE : GP), "CR4.LA57: CPUID shows it: %u",
           has(FEATURE_LA57));
    expect_fault(CATCH(asm volatile(MARK "1: mov %0, %%cr4" : : "r"((word)1 << 31))), GP, 0);
}

BEHAVIOUR(address_sizes, "SDM vol. 2 CPUID 80000008H: physical addresses have 32 to 52 bits, linear ones 57 with LA57, else 48")
{
    if (cpuid(0x80000000, 0).eax < 0x80000008)
        skip("there is no leaf 80000008H");
    unsigned bits = cpuid(0x80000008, 0).eax & 0xff;
    expect(bits >= 32 && bits <= 52, "it says %u", bits);
    if (has(FEATURE_LM))
        expect_equal("linear address bits", cpuid(0x80000008, 0).eax >> 8 & 0xff, has(FEATURE_LA57) ? 57 : 48);
}

BEHAVIOUR(xsave_sizes, "SDM vol. 1 13.2: leaf DH gives the size for XCR0, 576 bytes for x87 and SSE, more for AVX by its own subleaf")
{
    need(FEATURE_XSAVE);
    set_cr4(get_cr4() | CR4_OSXSAVE);
    asm volatile("xsetbv" : : "c"(0), "a"(3), "d"(0));
    expect_equal("the size for x87 and SSE", cpuid(13, 0).ebx, 576);
    uint32_t possible = cpuid(13, 0).eax, largest = cpuid(13, 0).ecx;
    expect(largest >= 576, "the size for all is %u", largest);
    if (!has(FEATURE_AVX))
        return;
    expect(possible & 4, "CPUID shows AVX, and leaf DH no state for it");
    asm volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    struct cpuid avx = cpuid(13, 2);
    uint32_t size = cpuid(13, 0).ebx;
    asm volatile("xsetbv" : : "c"(0), "a"(1), "d"(0));
    expect_equal("the size of AVX's state", avx.eax, 256);
    expect_equal("the size for x87, SSE and AVX", size, avx.ebx + avx.eax);
}
