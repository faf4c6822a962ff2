/* For the first instructions of a program, in 16, 32 and 64 bits alike: only byte registers, and a 16-bit port number. */
#define COM1 0x3f8

.macro say text
    .irpc char, \text
    .byte 0xb0                  /* mov al, imm8, in every mode */
    .ascii "\char"
    out %al, (%dx)
    .endr
.endm

/* A marker: "@perf" and the words, on a line. */
.macro say_marker words:vararg
    mov $COM1, %dx
    say "@perf"
    .irp word, \words
    mov $32, %al
    out %al, (%dx)
    say "\word"
    .endr
    mov $10, %al
    out %al, (%dx)
.endm

.macro say_first
    mov $COM1, %dx
    mov $10, %al                /* ends what firmware printed */
    out %al, (%dx)
    say_marker first
.endm
