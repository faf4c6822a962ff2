/* The multiboot 1 header and the way from the loader to `start_program`, in 32-bit protected mode or, in the other
 * image, in long mode. */

#define MAGIC 0x1badb002
#define FLAGS 0x3 /* page-aligned modules, memory information */

    .section .multiboot, "a"
    .balign 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)

    .text
    .code32
    .globl start
start:
    cli
    cld
    mov $boot_stack_top, %esp
    mov %ebx, %edi                      /* the information */
#ifndef __x86_64__
    push %edi
    call start_program
#else
    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    bt $29, %edx                        /* LM */
    jnc no_long_mode
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax                      /* PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx               /* IA32_EFER */
    rdmsr
    or $0x100, %eax                     /* LME */
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax                /* PG, PE */
    mov %eax, %cr0
    lgdt boot_gdt_register
    ljmp $8, $long_mode

    .code64
long_mode:
    mov $boot_stack_top, %rsp
    mov %edi, %edi
    call start_program

    .code32
no_long_mode:
    mov $no_long_mode_text, %esi
    mov $0x3f8, %edx
1:  lodsb
    test %al, %al
    jz 2f
    out %al, (%dx)
    jmp 1b
2:  cli
    hlt
    jmp 2b

no_long_mode_text:
    .asciz "bringup-cpu 1 0\nERROR the processor has no long mode\nEND\n"

    .balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff
boot_gdt_register:
    .word 15
    .long boot_gdt

    /* The first GiB as it is, in pages of 2 MiB; paging.c maps all that is wanted. */
    .data
    .balign 4096
boot_pml4:
    .quad boot_pdpt + 3
    .fill 511, 8, 0
boot_pdpt:
    .quad boot_pd + 3
    .fill 511, 8, 0
boot_pd:
    .set address, 0x83
    .rept 512
    .quad address
    .set address, address + 0x200000
    .endr
#endif

    .bss
    .balign 16
    .skip 16384
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
