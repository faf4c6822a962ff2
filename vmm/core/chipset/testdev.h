/* QEMU's device for tests of virtual machines (-device pc-testdev), on which kvm-unit-tests rely: a latch of 32 bits at
 * ports, interrupt lines that software drives, and 64 KiB of memory that is reached as a device is.
 *
 * Left out: its second latch (E8h), where this board has the debug port. A write to its port E4h, which has QEMU's host forget
 * a page's mapping so that the next access to it exits, is taken and does nothing: RAM has no mapping that could go. */
#ifndef BRINGUP_TESTDEV_H
#define BRINGUP_TESTDEV_H

#include "fields.h"

#define TESTDEV_LATCH_SIZE 4
#define TESTDEV_IRQS 24
#define TESTDEV_MEMORY_SIZE 0x10000

#define TESTDEV_STATE(VALUE, PART, owner)                                                                              \
    VALUE(owner, uint32_t, latch, )                                                                                    \
    VALUE(owner, uint32_t, irqs, ) /* levels of the lines 23:0 */                                                      \
    VALUE(owner, uint8_t, memory, [TESTDEV_MEMORY_SIZE])
STATE_STRUCT(testdev, TESTDEV_STATE);

void testdev_reset(struct testdev *testdev);
/* `size` bytes of the latch from byte `reg` on; what lies behind it reads as zero and is not written. */
uint32_t testdev_read_latch(const struct testdev *testdev, unsigned reg, unsigned size);
void testdev_write_latch(struct testdev *testdev, unsigned reg, uint32_t value, unsigned size);
/* The line goes high unless `value` is 0. */
void testdev_write_irq(struct testdev *testdev, unsigned line, uint32_t value);
/* `offset` may be any; bytes outside the memory read as ones and are not written. */
void testdev_read_memory(const struct testdev *testdev, uint64_t offset, void *data, unsigned size);
void testdev_write_memory(struct testdev *testdev, uint64_t offset, const void *data, unsigned size);

#endif
