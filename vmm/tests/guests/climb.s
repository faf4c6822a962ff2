# From 16-bit real mode through 32-bit protected mode with two-level paging to 64-bit mode, a line on COM1 at each step,
# then ACPI power-off. Everything is checked by using it: the text of each step is read through the new mapping.
.intel_syntax noprefix
.set COM1, 0x3f8
.set PM1A_CNT, 0x604
.set SLP_S5, 5 << 10 | 1 << 13

.code16
start:
    mov si, offset real_text
    call print16
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea                      # jmp 8:protected
    .word protected, 8

print16:
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

.code32
protected:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    # Two-level paging: the first 4 MiB as they are, and again at 0x40000000.
    mov edi, 0x10000
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword ptr [0x10000], 0x11003
    mov dword ptr [0x10400], 0x11003
    mov edi, 0x11000
    mov eax, 3
1:  stosd
    add eax, 0x1000
    cmp edi, 0x12000
    jne 1b
    mov eax, 0x10000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov esi, offset paged_text + 0x40000000
    call print32
    # Four-level paging, 2 MiB pages: the first GiB as it is, and again at 512 GiB.
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov edi, 0x10000
    xor eax, eax
    mov ecx, 0x3000 / 4
    rep stosd
    mov dword ptr [0x10000], 0x11003
    mov dword ptr [0x10008], 0x11003
    mov dword ptr [0x11000], 0x12003
    mov edi, 0x12000
    mov eax, 0x83
    mov ecx, 512
1:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop 1b
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, 0x10000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    .byte 0xea                      # jmp 0x18:wide
    .long wide
    .word 0x18

print32:
    mov edx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

.code64
wide:
    movabs rsi, offset long_text + 0x8000000000
    mov edx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  mov edx, PM1A_CNT
    mov eax, SLP_S5
    out dx, ax
    hlt
    jmp 2b

real_text:  .asciz "16-bit real mode\r\n"
paged_text: .asciz "32-bit paging\r\n"
long_text:  .asciz "64-bit mode\r\n"

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        # 8: flat 32-bit code
    .quad 0x00cf93000000ffff        # 10h: flat data
    .quad 0x00af9b000000ffff        # 18h: 64-bit code
gdt_pointer:
    .word 4 * 8 - 1
    .long gdt
