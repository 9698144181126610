/* The options of SORT; sort.h tells. */
#include <string.h>

#include "engine/base/crc16.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/sort.h"

static size_t find_arrow(struct bytes text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.ptr[i] == '-' && text.ptr[i + 1] == '>')
            return i;
    }
    return text.len;
}

static struct sort_pattern pattern_of(struct bytes text)
{
    struct sort_pattern p = {.itself = text.len == 1 && text.ptr[0] == '#'};
    const size_t star = bytes_find_u8(text, '*');

    if (p.itself || star == text.len)
        return p;
    p.leads = true;
    p.head = bytes_of(text.ptr, star);
    p.tail = bytes_from(text, star + 1);
    const size_t arrow = find_arrow(p.tail);
    /* With nothing behind it the arrow is part of the name. */
    if (arrow + 2 < p.tail.len) {
        p.field = bytes_from(p.tail, arrow + 2);
        p.tail.len = arrow;
    }
    return p;
}

/* All keys that it can lead to are of this slot: a hash tag stands before the '*'. */
static bool stays_in(const struct sort_pattern *p, int slot)
{
    if (slot < 0 || !p->leads)
        return true;
    const size_t open = bytes_find_u8(p->head, '{');
    if (open == p->head.len)
        return false;
    const size_t len = bytes_find_u8(bytes_from(p->head, open + 1), '}');
    return len != 0 && open + 1 + len < p->head.len && key_slot(p->head) == slot;
}

/* Option `i` and what belongs to it; `*i` becomes its last argument. */
static enum sort_parsed parse_option(uint32_t argc, const struct bytes *argv, bool may_store,
                                     int slot, uint32_t *i, struct sort_args *out)
{
    const struct bytes word = argv[*i];
    const uint32_t left = argc - *i - 1;

    if (bytes_eq_nocase(word, "asc")) {
        out->descending = false;
    } else if (bytes_eq_nocase(word, "desc")) {
        out->descending = true;
    } else if (bytes_eq_nocase(word, "alpha")) {
        out->alpha = true;
    } else if (bytes_eq_nocase(word, "limit") && left >= 2) {
        if (!num_parse_i64(argv[*i + 1], &out->offset) || !num_parse_i64(argv[*i + 2], &out->limit))
            return SORT_NOT_INTEGER;
        *i += 2;
    } else if (may_store && bytes_eq_nocase(word, "store") && left >= 1) {
        out->store_at = ++*i;
    } else if (bytes_eq_nocase(word, "by") && left >= 1) {
        out->by = pattern_of(argv[++*i]);
        out->has_by = true;
        /* As in Redis, for good. */
        out->unsorted |= !out->by.leads;
        if (!stays_in(&out->by, slot))
            return SORT_BY_ELSEWHERE;
    } else if (bytes_eq_nocase(word, "get") && left >= 1) {
        out->gets[out->gets_count] = pattern_of(argv[++*i]);
        if (!stays_in(&out->gets[out->gets_count++], slot))
            return SORT_GET_ELSEWHERE;
    } else {
        return SORT_SYNTAX;
    }
    return SORT_OK;
}

enum sort_parsed sort_parse(uint32_t argc, const struct bytes *argv, bool may_store, int slot,
                            struct sort_args *out)
{
    struct sort_args args = {.limit = -1};
    enum sort_parsed result = SORT_OK;

    if (argc > 3)
        args.gets = mem_zalloc_array(argc / 2, sizeof(*args.gets));
    for (uint32_t i = 2; i < argc && result == SORT_OK; i++)
        result = parse_option(argc, argv, may_store, slot, &i, &args);
    if (result == SORT_OK)
        *out = args;
    else
        sort_args_deinit(&args);
    return result;
}

void sort_args_deinit(struct sort_args *args)
{
    mem_free(args->gets);
    args->gets = NULL;
}
