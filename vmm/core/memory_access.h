/* What guest-physical memory allows. */
#ifndef BRINGUP_MEMORY_ACCESS_H
#define BRINGUP_MEMORY_ACCESS_H

/* In order: each allows what the one before it does. */
enum memory_access {
    MEMORY_BUS, /* the board answers */
    MEMORY_ROM, /* read and executed in the arena; stores go to the board */
    MEMORY_RAM,
};

#endif
