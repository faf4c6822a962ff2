/* The slow paths of memory.h as functions that preserve every general register but the result's. */
#include "memory.h"

#ifndef BRINGUP_LOOP_DISPATCH

/* The stack may have either alignment here: handlers are entered by jumps. */
#define PRESERVING(function)                                                                                           \
    __asm__(".text\n"                                                                                                  \
            ".hidden " #function "_preserving\n"                                                                       \
            ".globl " #function "_preserving\n"                                                                        \
            ".type " #function "_preserving, @function\n" #function "_preserving:\n"                                   \
            "push %rbp\n"                                                                                              \
            "mov %rsp, %rbp\n"                                                                                         \
            "push %rdi\n"                                                                                              \
            "push %rsi\n"                                                                                              \
            "push %rdx\n"                                                                                              \
            "push %rcx\n"                                                                                              \
            "push %r8\n"                                                                                               \
            "push %r9\n"                                                                                               \
            "push %r10\n"                                                                                              \
            "push %r11\n"                                                                                              \
            "and $-16, %rsp\n"                                                                                         \
            "call " #function "\n"                                                                                     \
            "lea -64(%rbp), %rsp\n"                                                                                    \
            "pop %r11\n"                                                                                               \
            "pop %r10\n"                                                                                               \
            "pop %r9\n"                                                                                                \
            "pop %r8\n"                                                                                                \
            "pop %rcx\n"                                                                                               \
            "pop %rdx\n"                                                                                               \
            "pop %rsi\n"                                                                                               \
            "pop %rdi\n"                                                                                               \
            "pop %rbp\n"                                                                                               \
            "ret\n"                                                                                                    \
            ".size " #function "_preserving, . - " #function "_preserving\n")

PRESERVING(segment_checked);
PRESERVING(mmu_read);
PRESERVING(mmu_modify);
PRESERVING(mmu_modify_end);
PRESERVING(mmu_write8);
PRESERVING(mmu_write16);
PRESERVING(mmu_write32);
PRESERVING(mmu_write64);

#endif
