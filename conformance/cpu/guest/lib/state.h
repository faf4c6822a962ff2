#ifndef STATE_H
#define STATE_H

/* The state that each behaviour starts in, whatever the one before left. */
void state_reset(void);

#endif
