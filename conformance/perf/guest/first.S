/* A kernel whose first instructions say that they run: the time to here is the VMM's own.
 *
 * It has the shape of a bzImage (Linux, Documentation/arch/x86/boot.rst) and prints from its 16-bit entry (VMMs that
 * start firmware, such as QEMU) or its 64-bit entry (VMMs that load the kernel themselves). The code is the same in
 * both modes: only byte registers, and a 16-bit port number. Then it powers off by ACPI's PM1a control register, and
 * halts where that is not at port 604h. */

#include "say.h"

#define PM1A_CNT 0x604
#define SLP_EN 0x2000

.macro program
    say_first
    mov $PM1A_CNT, %dx
    mov $SLP_EN, %ax
    out %ax, (%dx)
0:  cli
    hlt
    jmp 0b
.endm

    .text
    .code16
    .org 0x1f1
    .byte 1                     /* setup_sects */
    .word 0                     /* root_flags */
    .long (end - kernel + 15) / 16 /* syssize */
    .word 0, 0, 0               /* ram_size, vid_mode, root_dev */
    .word 0xaa55                /* boot_flag */
    jmp real_mode
    .ascii "HdrS"
    .word 0x20c                 /* version */
    .long 0                     /* realmode_swtch */
    .word 0x1000, 0             /* start_sys_seg, kernel_version */
    .byte 0, 1                  /* type_of_loader, loadflags: LOADED_HIGH */
    .word 0                     /* setup_move_size */
    .long 0x100000              /* code32_start */
    .long 0, 0, 0               /* ramdisk_image, ramdisk_size, bootsect_kludge */
    .word 0                     /* heap_end_ptr */
    .byte 0, 0                  /* ext_loader_ver, ext_loader_type */
    .long 0                     /* cmd_line_ptr */
    .long 0x7fffffff            /* initrd_addr_max */
    .long 0x200000              /* kernel_alignment */
    .byte 0, 21                 /* relocatable_kernel, min_alignment */
    .word 1                     /* xloadflags: XLF_KERNEL_64 */
    .long 255                   /* cmdline_size */
    .long 0                     /* hardware_subarch */
    .quad 0                     /* hardware_subarch_data */
    .long 0, 0                  /* payload_offset, payload_length */
    .quad 0                     /* setup_data */
    .quad 0x100000              /* pref_address */
    .long 0x100000              /* init_size */
    .long 0                     /* handover_offset */
real_mode:
    program

    .org 0x400
kernel:
    .code32
    program                     /* the 32-bit entry */
    .org 0x600
    .code64
    program                     /* the 64-bit entry */
    .org 0x800
end:
