#include "fdc.h"

#include <string.h>

#include "fdc_transfer.h"
#include "ticks.h"

STATE_TABLE(fdc_unit, FDC_UNIT_STATE);
STATE_TABLE(fdc, FDC_STATE);

#define MILLISECOND 1000000ULL
#define RECALIBRATE_STEPS 79
/* Between two looks at the drives' READY, of which a reset makes it report the first. */
#define POLL_INTERVAL MILLISECOND

struct floppy_drive *fdc_drive(struct fdc *fdc, unsigned unit)
{
    return unit < FDC_DRIVES && fdc->drive[unit].kind != FLOPPY_NO_DRIVE ? &fdc->drive[unit] : NULL;
}

/* ---- time ---- */

uint64_t fdc_scaled(const struct fdc *fdc, uint64_t nanoseconds)
{
    static const uint16_t kilobits[] = {
        [FLOPPY_500K] = 500, [FLOPPY_300K] = 300, [FLOPPY_250K] = 250, [FLOPPY_1M] = 1000};

    return floppy_drive_hastened(nanoseconds * 1000 / kilobits[fdc->rate]);
}

uint64_t fdc_steps_take(const struct fdc *fdc, unsigned steps)
{
    return fdc_scaled(fdc, steps * (16u - fdc->step_rate) * MILLISECOND / 2);
}

/* ---- interrupts ---- */

static void update_irq(struct fdc *fdc)
{
    bool pending = fdc->reset_interrupt || fdc->result_interrupt || fdc->host_ready;

    for (unsigned i = 0; i < FDC_UNITS; i++)
        pending |= fdc->unit[i].interrupt;
    fdc->irq = pending && fdc->dor & FDC_DOR_DMAGATE;
}

/* Any other interrupt ends the reporting of the reset: firmware senses one drive and goes on. */
static void forget_reset(struct fdc *fdc)
{
    fdc->reset_senses = 0;
    fdc->reset_interrupt = false;
}

void fdc_give_results(struct fdc *fdc, unsigned size)
{
    fdc->phase = FDC_RESULT;
    fdc->result_first = 0;
    fdc->result_size = (uint8_t)size;
    fdc->result_interrupt = true;
    fdc->event_at = MACHINE_NEVER;
    forget_reset(fdc);
}

/* Results of a command that is done at once, without an interrupt. */
static void answer(struct fdc *fdc, unsigned size)
{
    fdc->phase = FDC_RESULT;
    fdc->result_first = 0;
    fdc->result_size = (uint8_t)size;
}

/* ---- reset ---- */

/* What the DOR's and the DSR's reset bits do; the reset pin does it too. SPECIFY's and LOCK's values stay, and so do the
 * drives. */
static void soft_reset(struct fdc *fdc)
{
    for (unsigned i = 0; i < FDC_UNITS; i++) {
        memset(&fdc->unit[i], 0, sizeof fdc->unit[i]);
        fdc->unit[i].seek_at = MACHINE_NEVER;
    }
    if (!fdc->lock) {
        fdc->configuration = FDC_EFIFO;
        fdc->precompensation_track = 0;
    } else {
        fdc->configuration &= FDC_EFIFO | FDC_FIFOTHR;
    }
    fdc->perpendicular &= (uint8_t)~FDC_PERPENDICULAR_GAP_WGATE;
    fdc->phase = FDC_IDLE;
    fdc->command_used = fdc->command_size = 0;
    fdc->result_first = fdc->result_size = 0;
    fdc->result_interrupt = fdc->host_ready = false;
    fdc->request = FDC_NO_REQUEST;
    fdc->reset_at = fdc->event_at = fdc->host_at = MACHINE_NEVER;
    fdc->unload_at = 0;
    forget_reset(fdc);
}

/* The drives are polled once the reset ends (which has switched that on), and all of them have become ready since. */
static void leave_reset(struct fdc *fdc, uint64_t now)
{
    fdc->reset_at = now + floppy_drive_hastened(POLL_INTERVAL);
}

void fdc_reset(struct fdc *fdc)
{
    memset(fdc, 0, sizeof *fdc);
    fdc->rate = FLOPPY_250K;
    soft_reset(fdc);
}

/* ---- seeks ---- */

void fdc_start_seek(struct fdc *fdc, unsigned number, int steps, uint8_t pcn, uint64_t now)
{
    struct fdc_unit *unit = &fdc->unit[number];

    unit->steps = (int16_t)steps;
    unit->pcn = pcn;
    unit->st0 = (uint8_t)(FDC_ST0_SE | (fdc->command[1] & FDC_ST0_HEAD) | number);
    /* the end of a seek to where the head is already is told a step later */
    unit->seek_at = now + fdc_steps_take(fdc, steps < 0 ? (unsigned)-steps : steps ? (unsigned)steps : 1);
    unit->implied = false;
    unit->busy = true;
    unit->interrupt = false;
}

static void end_seek(struct fdc *fdc, unsigned number)
{
    struct fdc_unit *unit = &fdc->unit[number];
    struct floppy_drive *drive = fdc_drive(fdc, number);

    unit->seek_at = MACHINE_NEVER;
    if (drive)
        floppy_drive_step(drive, unit->steps);
    if (unit->implied)
        return;
    unit->interrupt = true;
    forget_reset(fdc);
}

static void recalibrate(struct fdc *fdc, unsigned number, uint64_t now)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number);
    unsigned steps = drive && drive->cylinder < RECALIBRATE_STEPS ? drive->cylinder : RECALIBRATE_STEPS;

    fdc->command[1] &= FDC_DOR_SELECT; /* it has no head address */
    fdc_start_seek(fdc, number, -(int)steps, 0, now);
    if (!drive || drive->cylinder > steps)
        fdc->unit[number].st0 |= FDC_ST0_ABNORMAL | FDC_ST0_EC;
}

static void relative_seek(struct fdc *fdc, unsigned number, uint64_t now)
{
    int steps = fdc->command[0] & FDC_DIRECTION ? fdc->command[2] : -(int)fdc->command[2];

    fdc_start_seek(fdc, number, steps, (uint8_t)(fdc->unit[number].pcn + steps), now);
}

/* ---- commands ---- */

static void sense_interrupt(struct fdc *fdc)
{
    for (unsigned i = 0; i < FDC_UNITS; i++) {
        struct fdc_unit *unit = &fdc->unit[i];
        if (fdc->reset_senses >> i & 1) {
            fdc->reset_senses &= (uint8_t)~(1 << i);
            fdc->reset_interrupt = false;
            fdc->result[0] = (uint8_t)(FDC_ST0_POLLING | i);
        } else if (!fdc->reset_senses && unit->interrupt) {
            unit->interrupt = unit->busy = false;
            fdc->result[0] = unit->st0;
        } else {
            continue;
        }
        fdc->result[1] = unit->pcn;
        answer(fdc, 2);
        return;
    }
    fdc->result[0] = FDC_ST0_INVALID;
    answer(fdc, 1);
}

static void sense_drive(struct fdc *fdc, unsigned number)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number);

    fdc->result[0] = (uint8_t)(FDC_ST3_ALWAYS | (fdc->command[1] & FDC_ST3_HEAD) | number);
    if (drive && floppy_drive_track0(drive))
        fdc->result[0] |= FDC_ST3_T0;
    if (drive && drive->write_protected)
        fdc->result[0] |= FDC_ST3_WP;
    answer(fdc, 1);
}

static void dump_registers(struct fdc *fdc)
{
    uint8_t *result = fdc->result;

    for (unsigned i = 0; i < FDC_UNITS; i++)
        result[i] = fdc->unit[i].pcn;
    result[4] = (uint8_t)(fdc->step_rate << 4 | fdc->unload_time);
    result[5] = (uint8_t)(fdc->load_time << 1 | fdc->non_dma);
    result[6] = fdc->last_sector;
    result[7] = (uint8_t)((fdc->lock ? FDC_LOCK_BIT : 0) | fdc->perpendicular);
    result[8] = fdc->configuration;
    result[9] = fdc->precompensation_track;
    answer(fdc, 10);
}

static void set_perpendicular(struct fdc *fdc, uint8_t value)
{
    uint8_t written = FDC_PERPENDICULAR_GAP_WGATE;

    if (value & FDC_PERPENDICULAR_OW)
        written |= FDC_PERPENDICULAR_DRIVES;
    fdc->perpendicular = (uint8_t)((fdc->perpendicular & ~written) | (value & written));
}

struct command {
    uint8_t first;   /* first byte, */
    uint8_t options; /* and the bits of it that may be set besides */
    uint8_t size;    /* bytes, with the first */
};

static const struct command commands[] = {
    {FDC_READ_DATA, FDC_MT | FDC_MFM | FDC_SK, 9},
    {FDC_READ_DELETED_DATA, FDC_MT | FDC_MFM | FDC_SK, 9},
    {FDC_WRITE_DATA, FDC_MT | FDC_MFM, 9},
    {FDC_WRITE_DELETED_DATA, FDC_MT | FDC_MFM, 9},
    {FDC_READ_TRACK, FDC_MFM, 9},
    {FDC_VERIFY, FDC_MT | FDC_MFM | FDC_SK, 9},
    {FDC_FORMAT_TRACK, FDC_MFM, 6},
    {FDC_READ_ID, FDC_MFM, 2},
    {FDC_RECALIBRATE, 0, 2},
    {FDC_SENSE_INTERRUPT_STATUS, 0, 1},
    {FDC_SPECIFY, 0, 3},
    {FDC_SENSE_DRIVE_STATUS, 0, 2},
    {FDC_SEEK, 0, 3},
    {FDC_RELATIVE_SEEK, FDC_DIRECTION, 3},
    {FDC_VERSION_COMMAND, 0, 1},
    {FDC_CONFIGURE, 0, 4},
    {FDC_DUMPREG, 0, 1},
    {FDC_PERPENDICULAR_MODE, 0, 2},
    {FDC_LOCK, FDC_LOCK_BIT, 1},
};

static const struct command *command_of(uint8_t first)
{
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++)
        if ((first & ~commands[i].options) == commands[i].first)
            return &commands[i];
    return NULL;
}

/* The command is whole. Those of no result leave the controller idle. */
static void execute(struct fdc *fdc, const struct command *command, uint64_t now)
{
    const uint8_t *bytes = fdc->command;
    unsigned number = bytes[1] & FDC_DOR_SELECT;

    fdc->phase = FDC_IDLE;
    fdc->command_used = fdc->command_size = 0;
    switch (command->first) {
    case FDC_RECALIBRATE:
        recalibrate(fdc, number, now);
        break;
    case FDC_SEEK:
        fdc_start_seek(fdc, number, bytes[2] - fdc->unit[number].pcn, bytes[2], now);
        break;
    case FDC_RELATIVE_SEEK:
        relative_seek(fdc, number, now);
        break;
    case FDC_SENSE_INTERRUPT_STATUS:
        sense_interrupt(fdc);
        break;
    case FDC_SENSE_DRIVE_STATUS:
        sense_drive(fdc, number);
        break;
    case FDC_SPECIFY:
        fdc->step_rate = bytes[1] >> 4;
        fdc->unload_time = bytes[1] & 15;
        fdc->load_time = bytes[2] >> 1;
        fdc->non_dma = bytes[2] & 1;
        break;
    case FDC_CONFIGURE:
        fdc->configuration = bytes[2] & (FDC_EIS | FDC_EFIFO | FDC_POLL | FDC_FIFOTHR);
        fdc->precompensation_track = bytes[3];
        break;
    case FDC_VERSION_COMMAND:
        fdc->result[0] = FDC_VERSION;
        answer(fdc, 1);
        break;
    case FDC_DUMPREG:
        dump_registers(fdc);
        break;
    case FDC_PERPENDICULAR_MODE:
        set_perpendicular(fdc, bytes[1]);
        break;
    case FDC_LOCK:
        fdc->lock = bytes[0] & FDC_LOCK_BIT;
        fdc->result[0] = fdc->lock ? 1 << 4 : 0;
        answer(fdc, 1);
        break;
    default:
        fdc_transfer_begin(fdc, now);
    }
}

static void write_command(struct fdc *fdc, uint8_t value, uint64_t now)
{
    const struct command *command;

    if (fdc->phase == FDC_IDLE) {
        fdc->reset_interrupt = false; /* polling stops for a command, and INT falls, sensed or not */
        fdc->command_used = 0;
        command = command_of(value);
        if (!command) {
            fdc->result[0] = FDC_ST0_INVALID;
            answer(fdc, 1);
            return;
        }
        fdc->command_size = command->size;
        fdc->phase = FDC_COMMAND;
    }
    fdc->command[fdc->command_used++] = value;
    if (fdc->command_used == fdc->command_size)
        execute(fdc, command_of(fdc->command[0]), now);
}

static uint8_t read_result(struct fdc *fdc)
{
    uint8_t value = fdc->result[fdc->result_first++];

    fdc->result_interrupt = false;
    if (fdc->result_first == fdc->result_size) {
        fdc->phase = FDC_IDLE;
        fdc->result_first = fdc->result_size = 0;
    }
    return value;
}

/* ---- registers ---- */

static bool in_reset(const struct fdc *fdc)
{
    return !(fdc->dor & FDC_DOR_RESET);
}

static uint8_t main_status(const struct fdc *fdc)
{
    uint8_t status = 0;

    if (in_reset(fdc))
        return 0;
    for (unsigned i = 0; i < FDC_UNITS; i++)
        status |= fdc->unit[i].busy ? 1 << i : 0;
    switch (fdc->phase) {
    case FDC_IDLE:
        return status | FDC_MSR_RQM;
    case FDC_COMMAND:
        return status | FDC_MSR_RQM | FDC_MSR_CMD_BUSY;
    case FDC_RESULT:
        return status | FDC_MSR_RQM | FDC_MSR_DIO | FDC_MSR_CMD_BUSY;
    default:
        status |= FDC_MSR_CMD_BUSY | (fdc->non_dma ? FDC_MSR_NON_DMA : 0);
        if (fdc->host_ready)
            status |= FDC_MSR_RQM | (fdc_transfer_writes(fdc) ? 0 : FDC_MSR_DIO);
        return status;
    }
}

static uint8_t read_fifo(struct fdc *fdc, uint64_t now)
{
    if (fdc->phase == FDC_RESULT)
        return read_result(fdc);
    if (fdc->host_ready && !fdc_transfer_writes(fdc))
        return fdc_transfer_read(fdc, now);
    return 0;
}

static void write_fifo(struct fdc *fdc, uint8_t value, uint64_t now)
{
    if (in_reset(fdc))
        return;
    if (fdc->phase == FDC_IDLE || fdc->phase == FDC_COMMAND)
        write_command(fdc, value, now);
    else if (fdc->host_ready && fdc_transfer_writes(fdc))
        fdc_transfer_write(fdc, value, now);
}

/* DSKCHG comes from the selected drive; bits 6:0 are not this chip's, and nothing drives them. */
static uint8_t read_dir(struct fdc *fdc)
{
    const struct floppy_drive *drive = fdc_drive(fdc, fdc->dor & FDC_DOR_SELECT);

    return (uint8_t)(~FDC_DIR_DSKCHG | (drive && drive->changed ? FDC_DIR_DSKCHG : 0));
}

uint8_t fdc_read(struct fdc *fdc, unsigned reg, uint64_t now)
{
    uint8_t value = 0xff;

    switch (reg) {
    case FDC_DOR:
        return fdc->dor;
    case FDC_TDR:
        return (uint8_t)(fdc->tdr | ~FDC_TDR_TAPE);
    case FDC_MSR_DSR:
        return main_status(fdc);
    case FDC_FIFO:
        value = read_fifo(fdc, now);
        break;
    case FDC_DIR_CCR:
        return read_dir(fdc);
    }
    update_irq(fdc);
    return value;
}

/* A command that waits for an index pulse looks again: there may be one now. */
static void look_again(struct fdc *fdc, uint64_t now)
{
    if (fdc->phase == FDC_POSITION && fdc->event_at == MACHINE_NEVER)
        fdc->event_at = now;
}

void fdc_medium_changed(struct fdc *fdc, uint64_t now)
{
    look_again(fdc, now);
}

static void write_dor(struct fdc *fdc, uint8_t value, uint64_t now)
{
    bool was_reset = in_reset(fdc);

    fdc->dor = value;
    if (in_reset(fdc))
        soft_reset(fdc);
    else if (was_reset)
        leave_reset(fdc, now);
    else
        look_again(fdc, now); /* a motor may run now */
}

void fdc_write(struct fdc *fdc, unsigned reg, uint8_t value, uint64_t now)
{
    switch (reg) {
    case FDC_DOR:
        write_dor(fdc, value, now);
        break;
    case FDC_TDR:
        fdc->tdr = value & FDC_TDR_TAPE;
        break;
    case FDC_MSR_DSR:
        fdc->rate = value & FDC_DSR_RATE;
        if (value & FDC_DSR_RESET && !in_reset(fdc)) { /* it takes itself back */
            soft_reset(fdc);
            leave_reset(fdc, now);
        }
        break;
    case FDC_FIFO:
        write_fifo(fdc, value, now);
        break;
    case FDC_DIR_CCR:
        fdc->rate = value & FDC_DSR_RATE;
        break;
    }
    update_irq(fdc);
}

/* ---- time passes ---- */

uint64_t fdc_deadline(const struct fdc *fdc)
{
    uint64_t due = sooner(sooner(fdc->reset_at, fdc->host_at), fdc->event_at);

    for (unsigned i = 0; i < FDC_UNITS; i++)
        due = sooner(due, fdc->unit[i].seek_at);
    return due;
}

/* One event. The heads move before a transfer that waits for them goes on. */
static void fire(struct fdc *fdc, uint64_t due)
{
    for (unsigned i = 0; i < FDC_UNITS; i++) {
        if (fdc->unit[i].seek_at == due) {
            end_seek(fdc, i);
            return;
        }
    }
    if (fdc->reset_at == due) {
        fdc->reset_at = MACHINE_NEVER;
        fdc->reset_senses = (1 << FDC_UNITS) - 1;
        fdc->reset_interrupt = true;
    } else if (fdc->host_at == due) {
        fdc->host_at = MACHINE_NEVER;
        fdc_transfer_ask(fdc);
    } else {
        fdc->event_at = MACHINE_NEVER;
        fdc_transfer_event(fdc, due);
    }
}

void fdc_advance(struct fdc *fdc, uint64_t now)
{
    for (uint64_t due; fdc->request == FDC_NO_REQUEST && (due = fdc_deadline(fdc)) <= now && due != MACHINE_NEVER;)
        fire(fdc, due);
    update_irq(fdc);
}
