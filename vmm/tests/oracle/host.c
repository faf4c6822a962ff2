/* The host's side: a child process in which every instruction is one single-stepped return from a signal handler.
 *
 * The handler writes down what the last instruction left (its registers are in the signal's context, whether a trap or
 * a fault ended it), puts the next case into that context and returns into it with RFLAGS.TF set. So code of any mode,
 * any stack pointer and any fault take the same way. The child may call nothing but read, write and rt_sigreturn. */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "layout.h"

#define TF 0x100u
#define RESTORED_FLAGS 0x40dd5u /* what rt_sigreturn takes from the context: AC OF DF TF SF ZF AF PF CF */
#define PATIENCE_MS 3000
#define HWCAP2_FSGSBASE 2u
#define SIGNAL_STACK (1u << 16)
#define XSTATE_BV 512u
#define XSTATE_YMM 576u

struct shared {
    volatile int32_t at, count; /* the case that runs; -1 before the first */
    struct oracle_case cases[ORACLE_BATCH];
    struct oracle_result results[ORACLE_BATCH];
};

bool with_avx;

static struct shared *shared;
static uint8_t *memory; /* the file, writable */
static int memory_file = -1;
static pid_t child;
static int to_child = -1, from_child = -1;

static struct {
    gregset_t registers;
    uint64_t fs_base, gs_base;
    uint16_t fs, gs;
} home; /* the child's own registers, while it is away in cases */

const uint8_t *host_memory(void)
{
    return memory;
}

void host_clear(void)
{
    memset(memory, 0, FILE_BYTES);
    memset(memory, 0xcc, CODE_PAGES * PAGE);
}

void host_copy(const uint8_t *from)
{
    memcpy(memory, from, FILE_BYTES);
}

/* ---- in the child ---- */

static void load_selectors(const uint16_t *selector)
{
    __asm__ volatile("mov %0, %%es\n\tmov %1, %%ds\n\tmov %2, %%fs\n\tmov %3, %%gs" ::"r"(selector[0]),
                     "r"(selector[3]), "r"(selector[4]), "r"(selector[5]));
}

static void set_bases(uint64_t fs, uint64_t gs)
{
    __asm__ volatile("wrfsbase %0\n\twrgsbase %1" ::"r"(fs), "r"(gs));
}

static void read_selectors(struct oracle_state *state)
{
    __asm__ volatile("mov %%es, %0\n\tmov %%ds, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
                     : "=r"(state->selector[0]), "=r"(state->selector[3]), "=r"(state->selector[4]),
                       "=r"(state->selector[5]));
    __asm__ volatile("rdfsbase %0\n\trdgsbase %1" : "=r"(state->fs_base), "=r"(state->gs_base));
}

static const uint8_t context_order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void write_down(const ucontext_t *context, const struct oracle_case *test, struct oracle_result *result)
{
    const greg_t *from = context->uc_mcontext.gregs;
    const uint8_t *fx = (const uint8_t *)context->uc_mcontext.fpregs;
    struct oracle_state *state = &result->state;
    result->vector = from[REG_TRAPNO] == 1 ? ORACLE_DONE : from[REG_TRAPNO];
    result->error = from[REG_ERR];
    result->cr2 = from[REG_CR2];
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = from[context_order[i]];
    state->rip = from[REG_RIP];
    state->rflags = from[REG_EFL];
    state->selector[1] = from[REG_CSGSFS];
    state->selector[2] = from[REG_CSGSFS] >> 48;
    read_selectors(state);
    memcpy(state->fx, fx, sizeof state->fx);
    if (with_avx && *(const uint64_t *)(fx + XSTATE_BV) & 4)
        memcpy(state->ymm, fx + XSTATE_YMM, sizeof state->ymm);
    else
        memset(state->ymm, 0, sizeof state->ymm);
    memcpy(state->window, memory + TERRAIN_FILE(test->terrain) + WINDOW_OFFSET - TERRAIN_PAGE, ORACLE_WINDOW);
    memset(memory + (test->state.rip & 0xffff), 0xcc, sizeof test->code);
}

static void go_into(ucontext_t *context, const struct oracle_case *test)
{
    greg_t *to = context->uc_mcontext.gregs;
    uint8_t *fx = (uint8_t *)context->uc_mcontext.fpregs;
    const struct oracle_state *state = &test->state;
    for (unsigned i = 0; i < 16; i++)
        to[context_order[i]] = state->gpr[i];
    to[REG_RIP] = state->rip;
    to[REG_EFL] = (state->rflags & RESTORED_FLAGS) | TF | 0x202;
    to[REG_CSGSFS] = state->selector[1] | (uint64_t)state->selector[2] << 48;
    context->uc_flags |= 6; /* UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
    memcpy(fx, state->fx, 416);
    *(uint64_t *)(fx + XSTATE_BV) |= with_avx ? 7 : 3;
    if (with_avx)
        memcpy(fx + XSTATE_YMM, state->ymm, sizeof state->ymm);
    memcpy(memory + TERRAIN_FILE(test->terrain) + WINDOW_OFFSET - TERRAIN_PAGE, state->window, ORACLE_WINDOW);
    memcpy(memory + (state->rip & 0xffff), test->code, sizeof test->code);
    load_selectors(state->selector);
    if (test->mode == ORACLE_64)
        set_bases(state->fs_base, state->gs_base);
}

static __attribute__((used)) void on_signal(int number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    (void)number, (void)info;
    if (shared->at < 0)
        memcpy(home.registers, context->uc_mcontext.gregs, sizeof home.registers);
    else
        write_down(context, &shared->cases[shared->at], &shared->results[shared->at]);
    if (++shared->at < shared->count) {
        go_into(context, &shared->cases[shared->at]);
        return;
    }
    const uint16_t selectors[6] = {0, 0, 0, 0, home.fs, home.gs};
    memcpy(context->uc_mcontext.gregs, home.registers, sizeof home.registers);
    context->uc_mcontext.gregs[REG_RIP] += 2; /* past the UD2 */
    context->uc_flags |= 6;
    load_selectors(selectors);
    set_bases(home.fs_base, home.gs_base);
}

/* Flags as C wants them: the kernel leaves AC, NT and ID as the case had them. */
void signal_entry(int number, siginfo_t *info, void *argument);
__asm__(".text\n"
        "signal_entry:\n\t"
        "pushq $2\n\t"
        "popfq\n\t"
        "jmp on_signal\n");

static void set_ldt(unsigned entry, const struct ldt_row *row)
{
    struct user_desc d = {
        .entry_number = entry, .base_addr = row->base, .limit = row->limit, .seg_32bit = row->wide,
        .contents = row->contents, .read_exec_only = row->read_only, .limit_in_pages = row->pages,
        .seg_not_present = row->absent, .useable = 1,
    };
    if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d) != 0)
        _exit(2);
}

static void map(uint64_t linear, unsigned offset, unsigned bytes, int protection)
{
    if (mmap((void *)linear, bytes, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, memory_file, offset) == MAP_FAILED)
        _exit(3);
}

static void map_all(void)
{
    map(CODE_LINEAR, 0, CODE_PAGES * PAGE, PROT_READ | PROT_EXEC);
    for (unsigned n = 0; n < ORACLE_TERRAINS; n++) {
        uint64_t linear = TERRAIN_LINEAR(n) + TERRAIN_PAGE;
        map(linear, TERRAIN_FILE(n), PAGE, PROT_READ | PROT_WRITE);
        if (n != TERRAIN_ABSENT)
            map(linear + PAGE, TERRAIN_FILE(n) + PAGE, PAGE,
                n == TERRAIN_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE);
    }
}

static void catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    stack_t stack = {.ss_size = SIGNAL_STACK};
    struct sigaction action = {.sa_sigaction = signal_entry, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    stack.ss_sp = mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) != 0)
        _exit(4);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* Whatever a case does, it can do nothing to the system. */
static void confine(void)
{
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read), ALLOW(write), ALLOW(rt_sigreturn), ALLOW(exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(5);
}

static long call3(long number, long a, const void *b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static _Noreturn void live(int from, int to)
{
    char token = 0;
    __asm__ volatile("rdfsbase %0\n\trdgsbase %1" : "=r"(home.fs_base), "=r"(home.gs_base));
    __asm__ volatile("mov %%fs, %0\n\tmov %%gs, %1" : "=r"(home.fs), "=r"(home.gs));
    for (;;) {
        if (call3(SYS_write, to, &token, 1) != 1 || call3(SYS_read, from, &token, 1) != 1)
            call3(SYS_exit_group, 0, NULL, 0);
        __asm__ volatile("ud2" ::: "memory");
    }
}

static bool answered(void)
{
    struct pollfd wait = {.fd = from_child, .events = POLLIN};
    char token;
    int ready;
    do
        ready = poll(&wait, 1, PATIENCE_MS);
    while (ready < 0 && errno == EINTR);
    return ready == 1 && read(from_child, &token, 1) == 1;
}

static int end_child(void)
{
    int status = 0;
    if (child > 0) {
        kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    close(to_child);
    close(from_child);
    child = 0;
    to_child = from_child = -1;
    return status;
}

static bool start_child(void)
{
    int down[2], up[2];
    pid_t parent = getpid();
    if (pipe(down) != 0 || pipe(up) != 0)
        return false;
    child = fork();
    if (child == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
            _exit(6);
        close(down[1]);
        close(up[0]);
        map_all();
        for (unsigned i = 0; i < LDT_ROWS; i++)
            set_ldt(i, &ldt_rows[i]);
        catch_signals();
        confine();
        live(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    to_child = down[1];
    from_child = up[0];
    if (child > 0 && answered())
        return true;
    return false;
}

/* ---- outside ---- */

bool host_start(char *why, size_t size)
{
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)) {
        snprintf(why, size, "the kernel does not let processes write FS and GS base");
        return false;
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memory_file = memfd_create("oracle", MFD_CLOEXEC);
    if (shared == MAP_FAILED || memory_file < 0 || ftruncate(memory_file, FILE_BYTES) != 0 ||
        (memory = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file, 0)) == MAP_FAILED) {
        snprintf(why, size, "no memory to share: %s", strerror(errno));
        return false;
    }
    host_clear();
    if (!start_child()) {
        int status = end_child();
        snprintf(why, size, "the host's process did not start (status %d: 2 modify_ldt, 3 mmap, 5 seccomp)",
                 WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
        return false;
    }
    return true;
}

void host_stop(void)
{
    end_child();
}

static void start_child_again(void)
{
    if (!start_child()) {
        fprintf(stderr, "oracle: the host's process cannot be started again\n");
        exit(3);
    }
}

void host_restart(void)
{
    end_child();
    start_child_again();
}

static bool is_for_cases(uint64_t linear)
{
    if (linear - CODE_LINEAR < CODE_PAGES * PAGE)
        return true;
    for (unsigned n = 0; n < ORACLE_TERRAINS; n++)
        if (linear - TERRAIN_LINEAR(n) - TERRAIN_PAGE < 2 * PAGE)
            return true;
    return false;
}

bool host_has(uint64_t linear)
{
    char path[32], *line = NULL;
    size_t size = 0;
    bool found = false;
    uint64_t first, end;
    snprintf(path, sizeof path, "/proc/%d/maps", child);
    FILE *maps = is_for_cases(linear) ? NULL : fopen(path, "r");
    if (!maps)
        return false;
    while (!found && getline(&line, &size, maps) > 0)
        found = sscanf(line, "%" SCNx64 "-%" SCNx64, &first, &end) == 2 && first <= linear && linear < end;
    free(line);
    fclose(maps);
    return found;
}

void host_run(const struct oracle_case *cases, struct oracle_result *results, unsigned count)
{
    unsigned done = 0;
    while (done < count) {
        char token = 0;
        memcpy(shared->cases, cases + done, (count - done) * sizeof *cases);
        shared->count = count - done;
        shared->at = -1;
        bool alive = write(to_child, &token, 1) == 1 && answered();
        unsigned here = alive ? count - done : shared->at < 0 ? 0 : (unsigned)shared->at;
        memcpy(results + done, shared->results, here * sizeof *results);
        done += here;
        if (!alive) {
            results[done++].vector = ORACLE_DIED;
            int status = end_child();
            results[done - 1].error = WIFSIGNALED(status) ? WTERMSIG(status) : 0x100 + WEXITSTATUS(status);
            start_child_again();
        }
    }
}
