/* Changes of the simulated replicas and members, and what of a row a client sees. */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "engine/value/hll.h"

#include "tests/prop/prop_value_sim.h"

struct sim_change *sim_change_add(struct sim_batch *batch, unsigned key, uint8_t kind)
{
    struct sim_change *change = &batch->changes[batch->changes_count++];

    memset(change, 0, sizeof(*change));
    change->key_index = key;
    change->op.kind = kind;
    snprintf(change->key, sizeof(change->key), "k%u", key);
    return change;
}

void sim_change_elem(const struct sim *sim, struct sim_change *change, unsigned type, unsigned sub)
{
    change->type_index = type;
    change->sub_index = sub;
    change->op.type = sim->types[type];
    snprintf(change->sub, sizeof(change->sub), "m%u", sub);
}

static void store_registers(struct sim_change *change)
{
    static struct hll_registers registers;
    struct buf value;

    memcpy(registers.at, change->registers, SIM_REGISTERS);
    buf_init(&value, SIZE_MAX);
    CHECK(hll_encode(&registers, sizeof(change->value), &value) == 0);
    CHECK(value.len <= sizeof(change->value));
    memcpy(change->value, value.ptr, value.len);
    change->value_len = value.len;
    buf_deinit(&value);
}

void sim_change_value(struct sim_change *change, unsigned number)
{
    static const char *const values[SIM_VALUES] = {"10", "0", "-7", "2.5", "abc"};
    static const double scores[SIM_VALUES] = {10, 0, -7, 2.5, 1000};
    static const uint8_t hlls[SIM_HLLS][SIM_REGISTERS] = {
        {1, 0, 0}, {0, 2, 0}, {1, 0, 3}, {2, 1, 0}};

    if (change->op.type == VT_ZSET) {
        number = number < SIM_VALUES ? number : SIM_VALUES - 1;
        snprintf(change->text, sizeof(change->text), "%g", scores[number]);
        row_score_store(change->value, scores[number]);
        change->value_len = ROW_SCORE_BYTES;
    } else if (number < SIM_VALUES) {
        change->value_len = strlen(values[number]);
        memcpy(change->text, values[number], change->value_len);
        memcpy(change->value, values[number], change->value_len);
    } else {
        memcpy(change->registers, hlls[number - SIM_VALUES], SIM_REGISTERS);
        store_registers(change);
    }
}

unsigned sim_value_or_hll(unsigned number, struct tag tag)
{
    if (number != SIM_VALUES - 1)
        return number;
    return number + (unsigned)((hlc_ms(tag.hlc) + tag.origin) % (1 + SIM_HLLS));
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

void sim_generation_text(struct tag generation, char text[SIM_TEXT_BYTES])
{
    snprintf(text, SIM_TEXT_BYTES, "chunks of %u/%llu", generation.origin,
             (unsigned long long)generation.hlc);
}

void sim_show_text(const struct row_view *view, char text[SIM_TEXT_BYTES])
{
    char tmp[ROW_TEXT_BYTES];
    const struct bytes shown = row_text(view, tmp);

    if (hll_valid(shown)) {
        static struct hll_registers registers;

        memset(&registers, 0, sizeof(registers));
        CHECK(hll_merge(shown, &registers));
        snprintf(text, SIM_TEXT_BYTES, "hll %u %u %u", registers.at[0], registers.at[1],
                 registers.at[2]);
        return;
    }
    if (view->kind == ROW_KIND_CHUNKS)
        sim_generation_text(view->generation, text);
    else
        snprintf(text, SIM_TEXT_BYTES, "%.*s", (int)shown.len, (const char *)shown.ptr);
}

bool sim_show_elem(struct bytes row, uint8_t type, char text[SIM_TEXT_BYTES])
{
    char printed[NUM_LDOUBLE_BYTES];
    struct row_view view;
    double score;

    CHECK(row_view(row, 0, &view) == 0);
    if (!view.present)
        return false;
    if (type == VT_ZSET) {
        CHECK(row_score(row, &score) == 0);
        num_print_ldouble(printed, (long double)score);
        snprintf(text, SIM_TEXT_BYTES, "%.39s", printed);
    } else {
        sim_show_text(&view, text);
    }
    return true;
}
