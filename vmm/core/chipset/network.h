/* The network that the card is plugged into, as the board reaches it. cffi reads this file too: plain declarations
 * only. */
#ifndef BRINGUP_NETWORK_H
#define BRINGUP_NETWORK_H

#include <stdint.h>

/* A frame without its CRC has left the card. What answers it at once is given to machine_network_arrive. */
typedef void network_transmit(void *context, const void *frame, uint32_t size);

#endif
