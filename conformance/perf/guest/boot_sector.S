/* The sector that firmware starts from a disk. Its first instructions say that they run; then it loads what follows it
 * on the disk, board.c, and starts it in protected mode. */
#include "say.h"

#define LOAD 0x7c00
#define CODE 0x08
#define DATA 0x10
#define CR0_PE 1
#define A20_GATE 0x92
#define A20 2

    .section .boot, "ax"
    .code16
    .globl boot_sector
boot_sector:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $LOAD, %sp
    mov %dl, drive
    say_first
    sti                         /* one or two ticks of the BIOS's clock: the driver has that long to look at the VMM */
    hlt
    hlt
    mov drive, %dl
    mov $packet, %si
    mov $0x42, %ah              /* INT 13h extensions: read */
    int $0x13
    jc failed
    cli
    in $A20_GATE, %al
    or $A20, %al
    out %al, $A20_GATE
    lgdt table
    mov %cr0, %eax
    or $CR0_PE, %eax
    mov %eax, %cr0
    ljmp $CODE, $protected
failed:
    say_marker error, disk
0:  hlt
    jmp 0b

    .code32
protected:
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack, %esp
    mov $bss, %edi
    mov $bss_size, %ecx
    xor %eax, %eax
    cld
    rep stosb
    jmp program

drive:
    .byte 0
    .balign 4
packet:
    .byte 16, 0
    .word sectors
    .word LOAD + 512, 0         /* to: offset, segment */
    .quad 1                     /* from: the sector behind this one */
    .balign 8
descriptors:
    .quad 0
    .quad 0x00cf9b000000ffff    /* code, base 0, limit 4 GiB */
    .quad 0x00cf93000000ffff    /* data */
table:
    .word table - descriptors - 1
    .long descriptors

    .org 0x140                  /* where who makes the disk puts the program's arguments, ended with a 0 */
    .globl arguments
arguments:
    .org 0x1be                  /* no partition */
    .org 0x1fe
    .word 0xaa55

    .bss
    .balign 16
    .skip 16384
stack:
