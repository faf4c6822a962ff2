#include "testdev.h"

#include <string.h>

STATE_TABLE(testdev, TESTDEV_STATE);

void testdev_reset(struct testdev *testdev)
{
    memset(testdev, 0, sizeof *testdev);
}

uint32_t testdev_read_latch(const struct testdev *testdev, unsigned reg, unsigned size)
{
    const uint64_t mask = (UINT64_C(1) << 8 * size) - 1;
    return (uint32_t)((uint64_t)testdev->latch >> 8 * reg & mask);
}

void testdev_write_latch(struct testdev *testdev, unsigned reg, uint32_t value, unsigned size)
{
    const uint64_t mask = ((UINT64_C(1) << 8 * size) - 1) << 8 * reg;
    testdev->latch = (uint32_t)((testdev->latch & ~mask) | ((uint64_t)value << 8 * reg & mask));
}

void testdev_write_irq(struct testdev *testdev, unsigned line, uint32_t value)
{
    if (line >= TESTDEV_IRQS)
        return;
    testdev->irqs = (testdev->irqs & ~(1u << line)) | (uint32_t)(value != 0) << line;
}

void testdev_read_memory(const struct testdev *testdev, uint64_t offset, void *data, unsigned size)
{
    uint8_t *bytes = data;
    for (unsigned i = 0; i < size; i++)
        bytes[i] = offset + i < TESTDEV_MEMORY_SIZE ? testdev->memory[offset + i] : 0xff;
}

void testdev_write_memory(struct testdev *testdev, uint64_t offset, const void *data, unsigned size)
{
    const uint8_t *bytes = data;
    for (unsigned i = 0; i < size; i++)
        if (offset + i < TESTDEV_MEMORY_SIZE)
            testdev->memory[offset + i] = bytes[i];
}
