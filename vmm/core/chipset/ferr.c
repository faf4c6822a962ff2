#include "ferr.h"

#include <string.h>

STATE_TABLE(ferr, FERR_STATE);

void ferr_reset(struct ferr *ferr)
{
    memset(ferr, 0, sizeof *ferr);
}

void ferr_set_pin(struct ferr *ferr, bool level)
{
    ferr->irq13 |= level && !ferr->ferr;
    ferr->ignne &= level;
    ferr->ferr = level;
}

void ferr_write(struct ferr *ferr)
{
    ferr->irq13 = false;
    ferr->ignne = ferr->ferr;
}
