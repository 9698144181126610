/*
 * Fuzz target: HyperLogLog values, which clients may write as any string. The first byte chooses
 * registers, the rest is the value. Properties: what merges still does after a register was raised
 * and when it is dense, and has all registers then.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/hll.h"

#include "tests/fuzz/fuzz.h"

#define SPARSE_MAX 3000

static void change(struct hll *h, uint8_t seed, bool sound)
{
    struct hll_registers *after = mem_zalloc(sizeof(*after));

    for (uint32_t i = 0; i < 16; i++) {
        const uint32_t reg = (seed * 2654435761u + i * 40503u) % HLL_REGISTERS;
        const uint8_t value = (uint8_t)(1 + (seed + i * 7) % HLL_VALUE_MAX);
        const int result = hll_raise(h, reg, value, SPARSE_MAX);
        CHECK(!sound || result >= 0);
        if (!sound)
            continue;
        CHECK(hll_merge(bytes_of(h->ptr, h->len), after));
        CHECK(after->at[reg] >= value);
    }
    CHECK((hll_to_dense(h) == 0) || !sound);
    CHECK(hll_valid(bytes_of(h->ptr, h->len)));
    mem_free(after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes value = bytes_of(data, size);
    struct bytes head;
    struct hll h;

    if (!bytes_take(&value, 1, &head) || !hll_valid(value))
        return 0;
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));
    const bool sound = hll_merge(value, registers);
    CHECK(hll_estimate(registers) <= INT64_MAX);
    CHECK(hll_init(&h, value) == 0);
    change(&h, head.ptr[0], sound);
    hll_deinit(&h);
    mem_free(registers);
    return 0;
}
