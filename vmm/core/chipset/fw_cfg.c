#include "fw_cfg.h"

#include <stdlib.h>
#include <string.h>

#include "map.h"

STATE_TABLE(fw_cfg, FW_CFG_STATE);

/* "etc/e820", the only file: u64 address, u64 size, u32 type. */
enum { E820_ENTRY = 20, E820_RAM = 1 };
enum { FILE_NAME = 8, FILE_ENTRY = 64 };

/* An item's bytes, as many as fit. */
struct item {
    uint32_t size;
    uint8_t bytes[4 + FILE_ENTRY];
};

static void put(struct item *item, const void *bytes, uint32_t size)
{
    memcpy(item->bytes + item->size, bytes, size);
    item->size += size;
}

static void put_little(struct item *item, uint64_t value, unsigned size)
{
    put(item, &value, size);
}

static void put_big(struct item *item, uint64_t value, unsigned size)
{
    for (unsigned i = size; i--;)
        put_little(item, value >> 8 * i & 0xff, 1);
}

static void put_e820(struct item *item, uint64_t address, uint64_t size)
{
    put_little(item, address, 8);
    put_little(item, size, 8);
    put_little(item, E820_RAM, 4);
}

static void put_e820_file(struct item *item, uint64_t ram_size)
{
    const uint64_t low = ram_size < MAP_RAM_LOW_END ? ram_size : MAP_RAM_LOW_END;
    put_e820(item, 0, low);
    if (ram_size > low)
        put_e820(item, UINT64_C(1) << 32, ram_size - low);
}

static void put_directory(struct item *item, uint64_t ram_size)
{
    static const char name[FILE_ENTRY - FILE_NAME] = "etc/e820";
    struct item file = {0};
    put_e820_file(&file, ram_size);
    put_big(item, 1, 4);
    put_big(item, file.size, 4);
    put_big(item, FW_CFG_FILE_FIRST, 2);
    put_big(item, 0, 2);
    put(item, name, sizeof name);
}

static struct item item_of(const struct fw_cfg *fw_cfg)
{
    struct item item = {0};
    switch (fw_cfg->selector) {
    case FW_CFG_SIGNATURE:
        put(&item, "QEMU", 4);
        break;
    case FW_CFG_ID:
        put_little(&item, FW_CFG_ID_PORTS, 4);
        break;
    case FW_CFG_RAM_SIZE:
        put_little(&item, fw_cfg->ram_size, 8);
        break;
    case FW_CFG_NB_CPUS:
    case FW_CFG_MAX_CPUS:
        put_little(&item, fw_cfg->cpus, 2);
        break;
    case FW_CFG_FILE_DIR:
        put_directory(&item, fw_cfg->ram_size);
        break;
    case FW_CFG_FILE_FIRST:
        put_e820_file(&item, fw_cfg->ram_size);
        break;
    }
    return item;
}

void fw_cfg_reset(struct fw_cfg *fw_cfg, uint64_t ram_size, unsigned cpus)
{
    *fw_cfg = (struct fw_cfg){.ram_size = ram_size, .cpus = (uint16_t)cpus};
}

void fw_cfg_select(struct fw_cfg *fw_cfg, uint16_t key)
{
    fw_cfg->selector = key;
    fw_cfg->offset = 0;
}

bool fw_cfg_items_copy(struct fw_cfg_items *items, const struct machine_item *item, uint32_t count)
{
    *items = (struct fw_cfg_items){0};
    items->item = calloc(count + 1, sizeof *items->item);
    for (uint32_t i = 0; items->item && i < count; i++) {
        uint8_t *bytes = malloc(item[i].size + 1);
        if (!bytes)
            return false;
        memcpy(bytes, item[i].data, item[i].size);
        items->item[items->count++] = (struct machine_item){item[i].key, item[i].size, bytes};
    }
    return items->item;
}

void fw_cfg_items_free(struct fw_cfg_items *items)
{
    for (uint32_t i = 0; i < items->count; i++)
        free((void *)items->item[i].data);
    free(items->item);
}

uint8_t fw_cfg_read(struct fw_cfg *fw_cfg, const struct fw_cfg_items *items)
{
    for (uint32_t i = 0; i < items->count; i++) {
        const struct machine_item *item = &items->item[i];
        if (item->key == fw_cfg->selector)
            return fw_cfg->offset < item->size ? item->data[fw_cfg->offset++] : 0;
    }
    const struct item item = item_of(fw_cfg);
    return fw_cfg->offset < item.size ? item.bytes[fw_cfg->offset++] : 0;
}
