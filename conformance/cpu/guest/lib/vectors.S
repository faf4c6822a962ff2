/* The 256 entries of the IDT, and the context that CATCH goes back to. */

    .text
    .balign 16
    .globl vectors
vectors:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    push $0                             /* in place of an error code */
    .endif
    push $vector
    jmp enter
    .set vector, vector + 1
    .endr

enter:
#ifdef __x86_64__
    .irp register, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    push %\register
    .endr
    cld
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    call dispatch
    mov %rbp, %rsp
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
    pop %\register
    .endr
    add $16, %rsp
    iretq
#else
    pusha
    push %ds
    push %es
    push %fs
    push %gs
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    cld
    push %esp
    call dispatch
    add $4, %esp
    pop %gs
    pop %fs
    pop %es
    pop %ds
    popa
    add $8, %esp
    iret
#endif

    .globl catch_begin, catch_resume
catch_begin:
#ifdef __x86_64__
    .irp register, rbx, rbp, r12, r13, r14, r15
    mov %\register, context_\register
    .endr
    lea 8(%rsp), %rax
    mov %rax, context_rsp
    mov (%rsp), %rax
    mov %rax, context_rip
    movl $1, catch_armed
    xor %eax, %eax
    ret
catch_resume:
    .irp register, rbx, rbp, r12, r13, r14, r15, rsp
    mov context_\register, %\register
    .endr
    pushq $2
    popfq
    mov $1, %eax
    jmp *context_rip
#else
    .irp register, ebx, ebp, esi, edi
    mov %\register, context_\register
    .endr
    lea 4(%esp), %eax
    mov %eax, context_esp
    mov (%esp), %eax
    mov %eax, context_eip
    movl $1, catch_armed
    xor %eax, %eax
    ret
catch_resume:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    .irp register, ebx, ebp, esi, edi, esp
    mov context_\register, %\register
    .endr
    pushl $2
    popfl
    mov $1, %eax
    jmp *context_eip
#endif

    /* The user's registers are as they were; only CS, SS and the stack change. */
    .globl leave_user_to
leave_user_to:
#ifdef __x86_64__
    mov leave_rsp, %rsp
    jmp *leave_rip
#else
    mov leave_esp, %esp
    jmp *leave_eip
#endif

    .globl enter_user, leave_user
enter_user:
#ifdef __x86_64__
    pop %rax
    mov %rsp, %rdx
    or $2, %rdi
    pushq $0x23                         /* USER_DS */
    push %rdx
    push %rdi
    pushq $0x2b                         /* USER_CS */
    push %rax
    iretq
leave_user:
    int $0x30                           /* USER_EXIT */
    ret
#else
    pop %eax
    mov (%esp), %ecx
    mov %esp, %edx
    or $2, %ecx
    pushl $0x23                         /* USER_DS */
    push %edx
    push %ecx
    pushl $0x1b                         /* USER_CS */
    push %eax
    mov $0x23, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    iret
leave_user:
    int $0x30                           /* USER_EXIT */
    ret
#endif

    .bss
    .balign 8
    .globl catch_armed, leave_rsp, leave_rip, leave_esp, leave_eip
catch_armed: .skip 4
    .balign 8
leave_rsp:
leave_esp: .skip 8
leave_rip:
leave_eip: .skip 8
    .irp register, ebx, ebp, esi, edi, esp, eip, rbx, rbp, r12, r13, r14, r15, rsp, rip
context_\register: .skip 8
    .endr

    .balign 16
    .skip 16384
    .globl trap_stack_top
trap_stack_top:

    .section .note.GNU-stack, "", @progbits
