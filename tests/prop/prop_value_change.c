/* Changes of the simulated replicas and members, and what of a row a client sees. */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"

#include "tests/prop/prop_value_sim.h"

const uint8_t sim_types[SIM_TYPES] = {VT_HASH, VT_SET};

struct sim_change *sim_change_add(struct sim_batch *batch, unsigned key, uint8_t kind)
{
    struct sim_change *change = &batch->changes[batch->changes_count++];

    memset(change, 0, sizeof(*change));
    change->key_index = key;
    change->op.kind = kind;
    snprintf(change->key, sizeof(change->key), "k%u", key);
    return change;
}

void sim_change_elem(struct sim_change *change, unsigned type, unsigned sub)
{
    change->type_index = type;
    change->sub_index = sub;
    change->op.type = sim_types[type];
    snprintf(change->sub, sizeof(change->sub), "m%u", sub);
}

void sim_change_value(struct sim_change *change, unsigned number)
{
    static const char *const values[SIM_VALUES] = {"10", "0", "-7", "2.5", "abc"};

    snprintf(change->value, sizeof(change->value), "%s", values[number]);
}

bool sim_has_counters(struct bytes row)
{
    struct buf seen;

    buf_init(&seen, SIZE_MAX);
    CHECK(row_seen(row, &seen) == 0);
    const bool some = seen.len != 0;
    buf_deinit(&seen);
    return some;
}

void sim_show_text(const struct row_view *view, char text[SIM_TEXT_BYTES])
{
    char tmp[ROW_TEXT_BYTES];
    const struct bytes shown = row_text(view, tmp);

    snprintf(text, SIM_TEXT_BYTES, "%.*s", (int)shown.len, (const char *)shown.ptr);
}
