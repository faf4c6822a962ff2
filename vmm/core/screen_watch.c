/* Text that scrolls: a run ends before lines are gone that nobody has seen (MACHINE_SCREEN). The quickest drivers write
 * and scroll a line in some 1500 instructions, so that a look every 10,000 finds the lines of the look before a bit
 * higher up. What it finds depends on the guest alone. */
#include <string.h>

#include "machine_state.h"

static uint64_t row_hash(const uint16_t *cells, unsigned columns)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a, of characters */
    bool blank = true;

    for (unsigned column = 0; column < columns; column++) {
        uint8_t character = cells[column] & 0xff;
        blank &= character == ' ' || !character;
        hash = (hash ^ character) * 0x100000001b3;
    }
    return blank ? 0 : hash | 1;
}

/* Of the rows of `before`: how many are there now, `by` rows further up? */
static unsigned still_there(const uint64_t *before, const uint64_t *now, unsigned rows, unsigned by)
{
    unsigned found = 0;

    for (unsigned row = by; row < rows; row++)
        found += before[row] && before[row] == now[row - by];
    return found;
}

/* How far it has scrolled from `before` to `now`: all of it when nothing of that is left. */
static unsigned distance(const uint64_t *before, const uint64_t *now, unsigned rows)
{
    unsigned best = 0, most = 0, text = 0;

    for (unsigned row = 0; row < rows; row++)
        text += before[row] != 0;
    for (unsigned by = 0; by < rows && most < text; by++) {
        unsigned found = still_there(before, now, rows, by);
        if (found > most)
            best = by, most = found;
    }
    return text > 1 && !most ? rows : best;
}

/* Takes the screen as it is; returns how far it has scrolled since that was done last. */
static unsigned look(struct machine *machine)
{
    struct screen_watch *watch = &machine->watch;
    struct machine_screen *screen = &watch->screen;
    uint64_t text = board_text_hash(machine->board), now[WATCHED_ROWS];
    unsigned rows, by = 0;

    if (text == watch->text)
        return 0;
    watch->text = text;
    board_screen(machine->board, screen);
    rows = screen->mode == SCREEN_TEXT && screen->rows <= WATCHED_ROWS ? screen->rows : 0;
    for (unsigned row = 0; row < rows; row++)
        now[row] = row_hash(screen->cells + row * screen->columns, screen->columns);
    if (rows == watch->rows)
        by = distance(watch->row, now, rows);
    watch->rows = rows;
    memcpy(watch->row, now, rows * sizeof *now);
    return by;
}

bool screen_moves_on(struct machine *machine)
{
    struct screen_watch *watch = &machine->watch;
    uint64_t count = machine_count(machine), step = machine->limits->screen_step;

    if (count < watch->at && watch->at - count <= step)
        return false;
    watch->at = (count / step + 1) * step;
    watch->scrolled += look(machine);
    if (!watch->rows || watch->scrolled < watch->rows / 2)
        return false;
    watch->scrolled = 0;
    return true;
}

void machine_screen_seen(struct machine *machine)
{
    look(machine);
    machine->watch.scrolled = 0;
}
