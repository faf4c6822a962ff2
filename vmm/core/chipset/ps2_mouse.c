#include "ps2_mouse.h"

#include <string.h>

#include "ps2_keyboard.h"
#include "ticks.h"

STATE_TABLE(ps2_mouse, PS2_MOUSE_STATE);

#define RATE_DEFAULT 100
#define RESOLUTION_DEFAULT 2 /* 4 counts a millimetre */
#define FARTHEST 100000      /* counts that wait to be reported: a hand cannot do more */

/* ---- bytes for the controller ---- */

/* An answer or a report as a whole; one that has no room is lost. */
static void reply(struct ps2_mouse *mouse, const uint8_t *bytes, uint8_t size)
{
    if (mouse->replies_used + size > PS2_MOUSE_REPLIES)
        return;
    memcpy(mouse->replies + mouse->replies_used, bytes, size);
    mouse->replies_used += size;
    memcpy(mouse->sent, bytes, size);
    mouse->sent_used = size;
}

static void reply_byte(struct ps2_mouse *mouse, uint8_t value)
{
    reply(mouse, &value, 1);
}

bool ps2_mouse_has_byte(const struct ps2_mouse *mouse)
{
    return mouse->replies_used;
}

/* ---- reports ---- */

static int32_t within(int32_t value, int32_t least, int32_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* Scaling 2:1 of the stream mode. */
static int32_t scaled(const struct ps2_mouse *mouse, int32_t counts)
{
    static const uint8_t table[] = {0, 1, 1, 3, 6, 9};
    int32_t size = counts < 0 ? -counts : counts;

    if (!mouse->scaling_2 || mouse->remote)
        return counts;
    size = size < (int32_t)sizeof table ? table[size] : 2 * size;
    return counts < 0 ? -size : size;
}

/* Takes what one report can say of the movement; the rest waits for the next. */
static int32_t portion(int32_t *counts, int32_t least, int32_t most)
{
    int32_t taken = within(*counts, least, most);

    *counts -= taken;
    return taken;
}

static void report(struct ps2_mouse *mouse, uint64_t now)
{
    int32_t most = mouse->scaling_2 && !mouse->remote ? 127 : 255;
    int32_t dx = scaled(mouse, portion(&mouse->dx, -most, most)), dy = scaled(mouse, portion(&mouse->dy, -most, most));
    int32_t dz = mouse->id == PS2_MOUSE_ID_WHEEL ? portion(&mouse->dz, -8, 7) : 0;
    uint8_t bytes[4] = {(uint8_t)(mouse->buttons | PS2_MOUSE_ALWAYS | (dx < 0 ? PS2_MOUSE_X_SIGN : 0) |
                                  (dy < 0 ? PS2_MOUSE_Y_SIGN : 0)),
                        (uint8_t)dx, (uint8_t)dy, (uint8_t)dz};

    if (mouse->id != PS2_MOUSE_ID_WHEEL)
        mouse->dz = 0;
    mouse->moved = mouse->dx || mouse->dy || mouse->dz;
    mouse->report_at = now + NS_PER_SECOND / mouse->rate;
    reply(mouse, bytes, mouse->id == PS2_MOUSE_ID_WHEEL ? 4 : 3);
}

/* A report waits until the one before it has left. */
static bool can_report(const struct ps2_mouse *mouse)
{
    return mouse->moved && mouse->enabled && !mouse->remote && !mouse->wrap && mouse->bat_at == MACHINE_NEVER &&
           !mouse->replies_used && !mouse->command;
}

static void resume(struct ps2_mouse *mouse, uint64_t now)
{
    if (can_report(mouse) && mouse->report_at < now)
        mouse->report_at = now;
}

uint8_t ps2_mouse_take(struct ps2_mouse *mouse, uint64_t now)
{
    uint8_t value = mouse->replies[0];

    if (!mouse->replies_used)
        return 0;
    mouse->replies_used--;
    memmove(mouse->replies, mouse->replies + 1, mouse->replies_used);
    resume(mouse, now);
    return value;
}

void ps2_mouse_move(struct ps2_mouse *mouse, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons, uint64_t now)
{
    uint8_t known = buttons & (PS2_MOUSE_LEFT | PS2_MOUSE_RIGHT | PS2_MOUSE_MIDDLE);

    mouse->dx = within(mouse->dx + within(dx, -FARTHEST, FARTHEST), -FARTHEST, FARTHEST);
    mouse->dy = within(mouse->dy + within(dy, -FARTHEST, FARTHEST), -FARTHEST, FARTHEST);
    mouse->dz = within(mouse->dz + within(dz, -FARTHEST, FARTHEST), -FARTHEST, FARTHEST);
    mouse->moved = mouse->moved || dx || dy || dz || known != mouse->buttons;
    mouse->buttons = known;
    resume(mouse, now);
}

/* ---- commands ---- */

static void forget_movement(struct ps2_mouse *mouse)
{
    mouse->dx = mouse->dy = mouse->dz = 0;
    mouse->moved = false;
}

static void set_defaults(struct ps2_mouse *mouse)
{
    mouse->enabled = mouse->remote = mouse->wrap = mouse->scaling_2 = false;
    mouse->resolution = RESOLUTION_DEFAULT;
    mouse->rate = RATE_DEFAULT;
    mouse->knocks = 0;
    forget_movement(mouse);
}

static void test(struct ps2_mouse *mouse, uint64_t now)
{
    set_defaults(mouse);
    mouse->id = PS2_MOUSE_ID;
    mouse->command = 0;
    mouse->in_error = false;
    mouse->bat_at = now + PS2_BAT_NS;
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
    memset(mouse, 0, sizeof *mouse);
    set_defaults(mouse);
    mouse->bat_at = MACHINE_NEVER;
}

static bool set_rate(struct ps2_mouse *mouse, uint8_t value)
{
    static const uint8_t rates[] = {10, 20, 40, 60, 80, 100, 200}, knock[] = {200, 100, 80};

    if (!memchr(rates, value, sizeof rates))
        return false;
    mouse->rate = value;
    mouse->knocks = value == knock[mouse->knocks] ? mouse->knocks + 1 : value == knock[0];
    if (mouse->knocks == sizeof knock) {
        mouse->id = PS2_MOUSE_ID_WHEEL;
        mouse->knocks = 0;
    }
    return true;
}

/* False: it is none that the command takes. */
static bool take_option(struct ps2_mouse *mouse, uint8_t command, uint8_t value)
{
    if (command == PS2_MOUSE_RATE && !set_rate(mouse, value))
        return false;
    if (command == PS2_MOUSE_RESOLUTION) {
        if (value > 3)
            return false;
        mouse->resolution = value;
    }
    reply_byte(mouse, PS2_ACKNOWLEDGE);
    return true;
}

static void tell_status(struct ps2_mouse *mouse)
{
    uint8_t right = mouse->buttons & PS2_MOUSE_RIGHT ? 1 << 0 : 0, left = mouse->buttons & PS2_MOUSE_LEFT ? 1 << 2 : 0;
    uint8_t middle = mouse->buttons & PS2_MOUSE_MIDDLE ? 1 << 1 : 0;
    uint8_t bytes[] = {(uint8_t)((mouse->remote ? PS2_MOUSE_STATUS_REMOTE : 0) |
                                 (mouse->enabled ? PS2_MOUSE_STATUS_ENABLED : 0) |
                                 (mouse->scaling_2 ? PS2_MOUSE_STATUS_SCALING_2 : 0) | left | middle | right),
                       mouse->resolution, mouse->rate};

    reply(mouse, bytes, sizeof bytes);
}

/* False: there is no such command. */
static bool obey(struct ps2_mouse *mouse, uint8_t command, uint64_t now)
{
    uint8_t sent[4], sent_used = mouse->sent_used;

    if (command == PS2_MOUSE_RESEND) {
        memcpy(sent, mouse->sent, sizeof sent);
        reply(mouse, sent, sent_used);
        return true;
    }
    switch (command) {
    case PS2_MOUSE_SCALING_1 ... PS2_MOUSE_WRAP_OFF:
    case PS2_MOUSE_WRAP:
    case PS2_MOUSE_REMOTE:
    case PS2_MOUSE_IDENTIFY ... PS2_MOUSE_DEFAULT:
    case PS2_MOUSE_RESET:
        reply_byte(mouse, PS2_ACKNOWLEDGE);
        break;
    default:
        return false;
    }
    switch (command) {
    case PS2_MOUSE_SCALING_1:
    case PS2_MOUSE_SCALING_2:
        mouse->scaling_2 = command == PS2_MOUSE_SCALING_2;
        break;
    case PS2_MOUSE_RESOLUTION:
    case PS2_MOUSE_RATE:
        mouse->command = command;
        break;
    case PS2_MOUSE_STATUS:
        tell_status(mouse);
        break;
    case PS2_MOUSE_STREAM:
    case PS2_MOUSE_REMOTE:
        mouse->remote = command == PS2_MOUSE_REMOTE;
        forget_movement(mouse);
        break;
    case PS2_MOUSE_READ:
        report(mouse, now);
        break;
    case PS2_MOUSE_WRAP:
        mouse->wrap = true;
        break;
    case PS2_MOUSE_WRAP_OFF:
        mouse->wrap = false;
        forget_movement(mouse);
        break;
    case PS2_MOUSE_IDENTIFY:
        reply_byte(mouse, mouse->id);
        break;
    case PS2_MOUSE_ENABLE:
    case PS2_MOUSE_DISABLE:
        mouse->enabled = command == PS2_MOUSE_ENABLE;
        forget_movement(mouse);
        break;
    case PS2_MOUSE_DEFAULT:
        set_defaults(mouse);
        break;
    case PS2_MOUSE_RESET:
        test(mouse, now);
        break;
    }
    return true;
}

void ps2_mouse_receive(struct ps2_mouse *mouse, uint8_t value, uint64_t now)
{
    uint8_t command = mouse->command;
    bool known = true;

    mouse->command = 0;
    mouse->replies_used = 0; /* whoever speaks again has not waited for them */
    if (mouse->bat_at != MACHINE_NEVER && value != PS2_MOUSE_RESET)
        return; /* it is busy with itself */
    if (mouse->wrap && value != PS2_MOUSE_RESET && value != PS2_MOUSE_WRAP_OFF)
        reply_byte(mouse, value);
    else if (command && value != PS2_MOUSE_RESET && value != PS2_MOUSE_RESEND)
        known = take_option(mouse, command, value);
    else
        known = obey(mouse, value, now);
    if (!known)
        reply_byte(mouse, mouse->in_error ? PS2_MOUSE_ERROR : PS2_RESEND);
    mouse->in_error = !known;
    if (!known && !mouse->command && command)
        mouse->command = command; /* the option once more */
    resume(mouse, now);
}

/* ---- time ---- */

uint64_t ps2_mouse_deadline(const struct ps2_mouse *mouse)
{
    return sooner(mouse->bat_at, can_report(mouse) ? mouse->report_at : MACHINE_NEVER);
}

void ps2_mouse_advance(struct ps2_mouse *mouse, uint64_t now)
{
    uint64_t at;

    while ((at = ps2_mouse_deadline(mouse)) <= now && at != MACHINE_NEVER) {
        if (mouse->bat_at == at) {
            static const uint8_t passed[] = {PS2_BAT_PASSED, PS2_MOUSE_ID};
            mouse->bat_at = MACHINE_NEVER;
            reply(mouse, passed, sizeof passed);
        } else {
            report(mouse, at);
        }
    }
}
