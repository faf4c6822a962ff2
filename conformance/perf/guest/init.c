/* The guest program of `bringup perf` on Linux: /init of the guest, or an ordinary process on the host. What it is asked
 * to run and what it prints is in markers.h. */
#include "markers.h"

#define NOINLINE __attribute__((noinline))

enum { SYS_WRITE = 1, SYS_IOCTL = 16, SYS_NANOSLEEP = 35, SYS_GETPID = 39, SYS_UMASK = 95, SYS_SYSLOG = 103 };
enum { SYS_REBOOT = 169, SYS_EXIT_GROUP = 231 };
enum { TCSBRK = 0x5409, SYSLOG_CONSOLE_LEVEL = 8 };
enum { REBOOT_MAGIC1 = 0xfee1dead, REBOOT_MAGIC2 = 672274793, REBOOT_POWER_OFF = 0x4321fedc };

static inline long syscall3(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

/* The compiler may call this for any large initializer. */
void *memset(void *to, int value, size_t size)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

/* The driver has that long to look at the VMM, and a machine that its driver runs in turns ends its turn here. */
static void idle(long milliseconds)
{
    struct {
        long seconds, nanoseconds;
    } time = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    syscall3(SYS_NANOSLEEP, (long)&time, 0, 0);
}

/* Writes the line and waits until the UART has sent it, so that no transmission is left to the workload. */
static void print(struct line *line)
{
    size_t at = 0;

    line->used -= line->used == sizeof(line->text);
    put_string(line, "\n");
    while (at < line->used) {
        long written = syscall3(SYS_WRITE, 1, (long)(line->text + at), (long)(line->used - at));

        if (written <= 0)
            break;
        at += (size_t)written;
    }
    line->used = 0;
    syscall3(SYS_IOCTL, 1, TCSBRK, 1);
    idle(20);
}

/* ---- Data ---- */

static const uint64_t RANDOM_SEED = 0x2545f4914f6cdd1d;
static uint64_t random_state;

/* xorshift64 (Marsaglia 2003). */
static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill(void *to, size_t size)
{
    uint64_t *word = to;

    for (size_t i = 0; i < size / 8; i++)
        word[i] = random64();
}

/* ---- crc: CRC-32 (IEEE 802.3) bytewise over 4 KiB by a table: loads, shifts, a tight loop ---- */

static uint32_t crc_table[256];
static uint8_t crc_data[4096];

static void crc_prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;

        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
        crc_table[i] = value;
    }
    fill(crc_data, sizeof(crc_data));
}

static uint64_t crc(uint64_t units)
{
    uint32_t value = 0;

    while (units--) {
        value = ~value;
        for (size_t i = 0; i < sizeof(crc_data); i++)
            value = crc_table[(value ^ crc_data[i]) & 0xff] ^ value >> 8;
        value = ~value;
    }
    return value;
}

/* ---- call: near calls and returns, two in three of them direct, one through a pointer ---- */

static NOINLINE uint64_t fibonacci(uint64_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static NOINLINE uint64_t leaf_add(uint64_t a, uint64_t b)
{
    return a + b;
}

static NOINLINE uint64_t leaf_xor(uint64_t a, uint64_t b)
{
    return a ^ b;
}

static NOINLINE uint64_t leaf_rotate(uint64_t a, uint64_t b)
{
    return (a << 7 | a >> 57) + b;
}

static NOINLINE uint64_t leaf_sub(uint64_t a, uint64_t b)
{
    return a - b;
}

static uint64_t (*const volatile leaves[4])(uint64_t, uint64_t) = {leaf_add, leaf_xor, leaf_rotate, leaf_sub};

static uint64_t call(uint64_t units)
{
    uint64_t sum = 1;

    while (units--) {
        uint64_t n = 12;

        __asm__("" : "+r"(n)); /* unknown to the compiler, which would compute the call once */
        sum = mix(sum, fibonacci(n));
        for (uint64_t i = 0; i < 232; i++)
            sum = leaves[(sum >> 13 ^ i) & 3](sum, i);
    }
    return sum;
}

/* ---- movs: REP MOVSB of 4 KiB and REP MOVSQ of 32 KiB at changing alignment: 4096 iterations each ---- */

static uint8_t movs_from[64 << 10] __attribute__((aligned(4096)));
static uint8_t movs_to[64 << 10] __attribute__((aligned(4096)));

static void movs_prepare(void)
{
    fill(movs_from, sizeof(movs_from));
    fill(movs_to, sizeof(movs_to));
}

static uint64_t movs(uint64_t units)
{
    uint64_t sum = 0;

    for (uint64_t unit = 0; unit < units; unit++) {
        const uint8_t *from = movs_from + unit * 200 % 16384;
        uint8_t *to = movs_to + unit * 72 % 16384;
        size_t count = 4096;

        __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
        count = 4096;
        __asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
        sum = mix(sum, *(const uint64_t *)(movs_to + unit * 4104 % 65528 / 8 * 8));
    }
    return sum;
}

/* ---- sse2: packed double and packed integer arithmetic, comparisons, shuffles and conversions ---- */

typedef double f64x2 __attribute__((vector_size(16)));
typedef int64_t i64x2 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));

enum { SSE2_VECTORS = 128 };

static f64x2 sse2_x[SSE2_VECTORS], sse2_y[SSE2_VECTORS];
static i32x4 sse2_z[SSE2_VECTORS];

static void sse2_prepare(void)
{
    for (size_t i = 0; i < SSE2_VECTORS; i++) {
        sse2_x[i] = (f64x2){(double)(random64() >> 40), (double)(random64() >> 42)};
        sse2_y[i] = (f64x2){0.25, -3.5};
    }
    fill(sse2_z, sizeof(sse2_z));
}

static uint64_t sse2(uint64_t units)
{
    i64x2 sum = {0, 0};

    while (units--) {
        for (size_t i = 0; i < SSE2_VECTORS; i++) {
            f64x2 y = sse2_y[i] * 0.75 + sse2_x[i];
            f64x2 root = y;
            i64x2 larger = y > sse2_y[i];
            i32x4 z = sse2_z[i];

            __asm__("sqrtpd %0, %0" : "+x"(root));
            z = (z + __builtin_shufflevector(z, z, 1, 2, 3, 0)) ^ (z << 5);
            sse2_z[i] = z;
            sse2_y[i] = (f64x2)(((i64x2)y & larger) | ((i64x2)(y - root) & ~larger));
            sum = (sum ^ (i64x2)sse2_y[i]) + (i64x2)z;
        }
    }
    return mix((uint64_t)sum[0], (uint64_t)sum[1]);
}

/* ---- x87: extended precision with exactly rounded operations only, so that every processor agrees ---- */

enum { X87_TERMS = 64 };

static double x87_terms[X87_TERMS];

static void x87_prepare(void)
{
    for (size_t i = 0; i < X87_TERMS; i++)
        x87_terms[i] = (double)(int32_t)random64() / 65536.0;
}

static uint64_t x87(uint64_t units)
{
    union {
        long double value;
        uint64_t mantissa;
    } bits = {0};
    long double sum = 1;
    uint64_t result = 0;

    while (units--) {
        for (size_t i = 0; i < X87_TERMS; i++) {
            long double term = x87_terms[i], root = term * term + sum * sum;

            __asm__("fsqrt" : "+t"(root));
            sum = (sum * 0.5L + term) / (root + 1) + (long double)(int32_t)i * 0.125L;
        }
        bits.value = sum;
        result = mix(result, bits.mantissa);
    }
    return result;
}

/* ---- syscall: SYSCALL and SYSRET around one of the kernel's shortest calls ---- */

static uint64_t system_call(uint64_t units)
{
    uint64_t sum = 0;

    syscall3(SYS_UMASK, 022, 0, 0);
    while (units--)
        sum = mix(sum, (uint64_t)syscall3(SYS_UMASK, (long)(units & 0777), 0, 0));
    return sum;
}

/* ---- The program ---- */

static void nothing(void)
{
}

static const struct workload workloads[] = {
    {"crc", crc_prepare, crc},
    {"call", nothing, call},
    {"movs", movs_prepare, movs},
    {"sse2", sse2_prepare, sse2},
    {"x87", x87_prepare, x87},
    {"syscall", nothing, system_call},
};

__attribute__((noreturn, used)) static void program(long *stack)
{
    long count = stack[0];
    char **arguments = (char **)(stack + 1);
    struct line line = {.used = 0};
    int status = 0, init = syscall3(SYS_GETPID, 0, 0, 0) == 1;

    if (init) /* from here on the kernel's messages must not cut a marker in two */
        syscall3(SYS_SYSLOG, SYSLOG_CONSOLE_LEVEL, 0, 1);
    put_string(&line, init ? "\n@perf ready" : "@perf ready");
    print(&line);
    for (long i = 1; i < count && !status; i++) {
        random_state = RANDOM_SEED;
        status = !run_argument(arguments[i], workloads, SIZE(workloads), &line);
    }
    if (!status) {
        put_string(&line, "@perf done");
        print(&line);
    }
    if (init) {
        idle(1000); /* a busy host looks late, and a VMM that has ended has no memory to look at */
        syscall3(SYS_REBOOT, (long)REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_POWER_OFF);
    }
    for (;;)
        syscall3(SYS_EXIT_GROUP, status, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call program\n");
