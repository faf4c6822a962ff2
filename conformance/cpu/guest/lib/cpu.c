#include "cpu.h"

bool has(struct feature feature)
{
    if (cpuid(feature.leaf & 0x80000000, 0).eax < feature.leaf)
        return false;
    struct cpuid leaf = cpuid(feature.leaf, feature.subleaf);
    const uint32_t registers[] = {leaf.eax, leaf.ebx, leaf.ecx, leaf.edx};
    return registers[feature.reg] >> feature.bit & 1;
}
