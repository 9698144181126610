/* The preload stream: family by family, key by key, chunk by chunk. */
#include "bench/load/bench_load.h"

#include <stdbool.h>

static bool needs_load(const struct bench_options *options, enum bench_family family)
{
    if (bench_family_load_verb(family) == NULL)
        return false;
    for (size_t i = 0; i < options->mix.count; i++) {
        const enum bench_op op = options->mix.ops[i];
        const enum bench_family touched =
            bench_op_generic(op) ? options->generic_family : bench_op_info(op)->family;
        if (touched == family && op != BENCH_OP_PING)
            return true;
    }
    return false;
}

static uint64_t elements_of(const struct bench_options *options, enum bench_family family)
{
    return family <= BENCH_FAMILY_COUNTER ? 1 : options->fields;
}

void bench_load_init(struct bench_load *load, const struct bench_plan *plan, uint32_t worker)
{
    *load = (struct bench_load){
        .plan = plan,
        .item = {.family = (enum bench_family)0, .key = worker},
        .first_key = worker,
        .key_stride = plan->options->threads,
    };
}

/* Steps to the item after one of `count` elements. */
static void advance(struct bench_load *load, uint64_t count)
{
    const struct bench_options *options = load->plan->options;
    struct bench_load_item *item = &load->item;

    item->first += count;
    if (item->first < elements_of(options, item->family))
        return;
    item->first = 0;
    item->key += load->key_stride;
}

size_t bench_load_next(struct bench_load *load, struct bench_gen *gen, uint8_t *out)
{
    const struct bench_options *options = load->plan->options;
    struct bench_load_item *item = &load->item;

    while (item->family < BENCH_FAMILY_COUNT &&
           (item->key >= options->keys || !needs_load(options, item->family))) {
        item->family++;
        item->key = load->first_key;
        item->first = 0;
    }
    if (item->family == BENCH_FAMILY_COUNT)
        return 0;
    const uint64_t left = elements_of(options, item->family) - item->first;
    item->count = u64_min(left, load->plan->load_elements_max);
    const size_t len = bench_gen_build_load(gen, item, out);
    advance(load, item->count);
    return len;
}

uint64_t bench_load_total(const struct bench_plan *plan)
{
    const struct bench_options *options = plan->options;
    const uint64_t chunk = plan->load_elements_max;
    uint64_t total = 0;

    for (size_t i = 0; i < BENCH_FAMILY_COUNT; i++) {
        const enum bench_family family = (enum bench_family)i;
        if (needs_load(options, family))
            total += options->keys * ((elements_of(options, family) + chunk - 1) / chunk);
    }
    return total;
}
