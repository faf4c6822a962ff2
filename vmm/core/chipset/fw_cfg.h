/* QEMU's firmware configuration device (QEMU, docs/specs/fw_cfg), by ports and without DMA: how firmware, and tests that
 * take its place, learn what machine they are on. Items are made from the configuration when they are read, or given by the
 * machine's builder. */
#ifndef BRINGUP_FW_CFG_H
#define BRINGUP_FW_CFG_H

#include "../machine.h"
#include "fields.h"

/* Ports, counted from the first (510h). */
enum {
    FW_CFG_SELECTOR = 0, /* 16 bits, write only */
    FW_CFG_DATA = 1,     /* 8 bits, read only; each read takes the next byte of the item, zeros behind its end */
};

/* Selector keys; numbers in items are little-endian, but those of the file directory are big-endian. */
enum {
    FW_CFG_SIGNATURE = 0x00, /* "QEMU" */
    FW_CFG_ID = 0x01,        /* u32, bit 0: the interface by ports */
    FW_CFG_RAM_SIZE = 0x03,  /* u64, bytes */
    FW_CFG_NB_CPUS = 0x05,   /* u16 */
    FW_CFG_MAX_CPUS = 0x0f,  /* u16 */
    FW_CFG_FILE_DIR = 0x19,  /* u32 count, then for each file u32 size, u16 key, u16 0, 56 bytes of name */
    FW_CFG_FILE_FIRST = 0x20,
};
enum { FW_CFG_ID_PORTS = 1 << 0 };

#define FW_CFG_STATE(VALUE, PART, owner)                                                                               \
    VALUE(owner, uint64_t, ram_size, )                                                                                 \
    VALUE(owner, uint16_t, cpus, )                                                                                     \
    VALUE(owner, uint16_t, selector, )                                                                                 \
    VALUE(owner, uint32_t, offset, ) /* of the byte that is read next */
STATE_STRUCT(fw_cfg, FW_CFG_STATE);

/* What the machine's builder gives, instead of or besides those that are made here. Not state: the same all the time. */
struct fw_cfg_items {
    uint32_t count;
    struct machine_item *item;
};

/* Copies with their bytes; false: no memory. */
bool fw_cfg_items_copy(struct fw_cfg_items *items, const struct machine_item *item, uint32_t count);
void fw_cfg_items_free(struct fw_cfg_items *items);

void fw_cfg_reset(struct fw_cfg *fw_cfg, uint64_t ram_size, unsigned cpus);
void fw_cfg_select(struct fw_cfg *fw_cfg, uint16_t key);
uint8_t fw_cfg_read(struct fw_cfg *fw_cfg, const struct fw_cfg_items *items);

#endif
