/* A machine, as the run loop (machine.c), the turns of its vCPUs (schedule.c) and its hash (state_hash.c) see it. */
#ifndef BRINGUP_MACHINE_STATE_H
#define BRINGUP_MACHINE_STATE_H

#include "accel.h"

#define NEVER MACHINE_NEVER

/* What has become of the text since it was seen (screen_watch.c). */
#define WATCHED_ROWS 256
struct screen_watch {
    uint64_t at;                /* the machine's count at which it is looked at next */
    uint64_t text;              /* board_text_hash of the last look */
    unsigned rows, scrolled;    /* of the last look; since it was seen */
    uint64_t row[WATCHED_ROWS]; /* a hash of each, 0 for blanks */
    struct machine_screen screen;
};

struct machine {
    struct machine_config config;
    const struct accel *accel;
    struct arena *arena;
    struct board *board;
    struct memory_map map;
    uint8_t *hidden;              /* WINDOW_BYTES: what the window does not show; NULL without firmware */
    bool reads_ram[WINDOW_PAGES]; /* what it shows is RAM, not what lies on the bus in front of it */
    uint32_t window_version;
    struct vcpu *vcpu[MACHINE_MAX_CPUS]; /* config.cpus of them */
    struct vcpu *current; /* runs, or ran last: its time is the machine's */
    uint64_t slice_end;   /* the machine's count at which the current vCPU's turn ends */
    const struct machine_limits *limits; /* of the machine_run under way */
    enum board_event event;              /* taken from the board, not yet reported */
    uint32_t event_detail;
    int64_t work;           /* left until the next look at the host's clock */
    uint64_t host_epoch;    /* CLOCK_HOST: the host's clock at guest time 0 */
    bool host_epoch_known;
    bool a20_closed;        /* as the accelerator has it */
    uint32_t kicked;        /* atomic */
    struct screen_watch watch;
};

static inline uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* STI blocks an NMI too, as it may (SDM vol. 3, table 25-3). */
static inline bool takes_nmi(const struct vcpu *vcpu)
{
    return !vcpu->injecting && !vcpu->accel->trap_pending(vcpu) &&
           !(vcpu->accel->interruptibility(vcpu) & (BLOCKED_BY_MOV_SS | BLOCKED_BY_STI | BLOCKED_BY_NMI));
}

/* However many come while one waits, they are one (SDM vol. 3, 6.7.1). */
static inline void take_nmi(struct vcpu *vcpu)
{
    if (board_take_nmi(vcpu->board, vcpu->index))
        vcpu->nmi_pending = true;
}

/* ---- memory_window.c ---- */

/* What lies there after power-on; false: no memory. */
bool memory_window_create(struct machine *machine);
/* The chipset may have changed it. */
void memory_window_follow(struct machine *machine);
/* struct board_memory; `context` is the machine. */
uint8_t *memory_at(void *context, uint64_t gpa, uint64_t size, bool write);
uint8_t *memory_hidden(void *context, uint64_t gpa);

/* ---- screen_watch.c ---- */

/* Every limits->screen_step instructions: has half of the text scrolled that was seen? */
bool screen_moves_on(struct machine *machine);

/* ---- schedule.c ---- */

/* The vCPU whose turn it is, awake and with the machine's clock; NULL: all wait. */
struct vcpu *schedule(struct machine *machine);
/* Could another one run at once if the current vCPU gave way? */
bool schedule_others_wait(struct machine *machine);
/* The first vCPU's turn; the clocks of all are the machine's. */
void schedule_reset(struct machine *machine);

#endif
