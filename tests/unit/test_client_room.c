/*
 * maxmemory-clients: what the directive means in bytes, and which list a size belongs to.
 */
#include <string.h>

#include "engine/base/mem.h"

#include "server/client_room.h"
#include "server/config.h"

#include "tests/lib/tcase.h"

static void the_directive_is_bytes_or_a_percentage(void **state UNUSED)
{
    static const struct {
        int64_t clients;
        uint64_t maxmemory;
        uint64_t limit;
    } cases[] = {
        {0, 0, 0},
        {0, 1u << 30, 0},
        {1u << 20, 0, 1u << 20},
        {1u << 20, 1u << 18, 1u << 20},
        {1, 0, CLIENT_ROOM_BYTES_MIN},
        {INT64_MAX, 0, INT64_MAX},
        {-5, 1000000000, 50000000},
        {-100, 1u << 30, 1u << 30},
        {-1, 1u << 20, CLIENT_ROOM_BYTES_MIN},
        {-5, 0, 0},
    };
    struct config *cfg = mem_zalloc(sizeof(*cfg));

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cfg->maxmemory_clients = cases[i].clients;
        cfg->maxmemory = cases[i].maxmemory;
        expect_u64(client_room_limit(cfg), cases[i].limit);
    }
    mem_free(cfg);
}

static void sizes_stand_in_lists_by_powers_of_two(void **state UNUSED)
{
    expect_u64(client_room_list(0), 0);
    for (uint32_t i = 0; i < CLIENT_ROOM_LISTS - 1; i++) {
        const uint64_t end = 1ull << (i + CLIENT_ROOM_SHIFT);
        expect_u64(client_room_list(end - 1), i);
        expect_u64(client_room_list(end), i + 1);
    }
    expect_u64(client_room_list(UINT64_MAX), CLIENT_ROOM_LISTS - 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directive_is_bytes_or_a_percentage),
        cmocka_unit_test(sizes_stand_in_lists_by_powers_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
