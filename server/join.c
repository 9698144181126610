/* Joining the replies of several shards; join.h tells the kinds. */
#include "server/join.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/reply.h"

/* Replies of one part; what does not fit fails the reply. Bytes. */
#define PART_BYTES_MAX ((size_t)4 << 30)

struct join {
    enum join_kind kind;
    uint32_t parts_count;
    uint64_t limit;
    uint32_t *places; /* Part of each element. */
    uint32_t places_count;
    uint32_t places_cap;
    bool failed; /* No memory for a part. */
    struct buf part[];
};

struct join *join_create(enum join_kind kind, uint32_t parts)
{
    struct join *j = mem_zalloc(sizeof(*j) + parts * sizeof(j->part[0]));

    j->kind = kind;
    j->parts_count = parts;
    j->limit = UINT64_MAX;
    for (uint32_t i = 0; i < parts; i++)
        buf_init(&j->part[i], PART_BYTES_MAX);
    return j;
}

void join_destroy(struct join *j)
{
    if (j == NULL)
        return;
    for (uint32_t i = 0; i < j->parts_count; i++)
        buf_deinit(&j->part[i]);
    mem_free(j->places);
    mem_free(j);
}

uint32_t join_parts(const struct join *j)
{
    return j->parts_count;
}

void join_place(struct join *j, uint32_t part)
{
    if (j->places_count == j->places_cap) {
        j->places_cap = j->places_cap == 0 ? 16 : j->places_cap * 2;
        j->places = mem_realloc(j->places, j->places_cap * sizeof(*j->places));
    }
    j->places[j->places_count++] = part;
}

void join_limit(struct join *j, uint64_t limit)
{
    j->limit = limit;
}

void join_add(struct join *j, uint32_t part, struct bytes text)
{
    CHECK(part < j->parts_count);
    if (buf_append_bytes(&j->part[part], text) != 0)
        j->failed = true;
}

/* --- reading replies --- */

/* The line at the start: its number, and its length with the end of line. */
static bool head(struct bytes in, int64_t *number, size_t *len)
{
    const uint8_t *end = in.len < 3 ? NULL : memchr(in.ptr, '\r', in.len - 1);

    if (end == NULL)
        return false;
    *len = (size_t)(end - in.ptr) + 2;
    if (!num_parse_i64(bytes_of(in.ptr + 1, *len - 3), number))
        *number = 0; /* A text. */
    return true;
}

size_t join_element_bytes(struct bytes in)
{
    uint64_t open = 1; /* Elements that are still to come. */
    size_t at = 0;

    while (open != 0) {
        int64_t number;
        size_t len;
        const struct bytes rest = bytes_from(in, at);
        if (!head(rest, &number, &len))
            return 0;
        const uint8_t type = rest.ptr[0];
        open--;
        if ((type == '$' || type == '=' || type == '!') && number >= 0) {
            if (len + (uint64_t)number + 2 > rest.len)
                return 0;
            len += (size_t)number + 2;
        } else if ((type == '*' || type == '~' || type == '>') && number > 0) {
            open += (uint64_t)number;
        } else if (type == '%' && number > 0) {
            open += 2 * (uint64_t)number;
        }
        at += len;
    }
    return at;
}

static bool is_error(struct bytes text)
{
    return text.len != 0 && text.ptr[0] == '-';
}

/* The elements of an array, behind its head; `*count` says how many. */
static struct bytes elements(struct bytes text, uint64_t *count)
{
    int64_t number = 0;
    size_t len = 0;

    *count = 0;
    if (!head(text, &number, &len) || number < 0)
        return bytes_of(NULL, 0);
    *count = (uint64_t)number;
    return bytes_from(text, len);
}

/* --- joining --- */

static struct bytes part_of(const struct join *j, uint32_t part)
{
    return buf_bytes(&j->part[part]);
}

/* The one reply that stands for all, or nothing: they are to be joined. */
static struct bytes one_for_all(const struct join *j)
{
    uint32_t good = 0, bad = 0;

    for (uint32_t i = 0; i < j->parts_count; i++) {
        if (!is_error(part_of(j, i)))
            good = i + 1;
        else if (bad == 0)
            bad = i + 1;
    }
    if (j->kind == JOIN_ANY)
        return part_of(j, (good != 0 ? good : bad) - 1);
    if (bad != 0)
        return part_of(j, bad - 1);
    for (uint32_t i = 0; j->kind == JOIN_OK && i < j->parts_count; i++) {
        if (bytes_eq(part_of(j, i), BYTES_LIT("+OK\r\n")))
            return part_of(j, i);
    }
    return j->kind == JOIN_FIRST || j->kind == JOIN_OK ? part_of(j, 0) : bytes_of(NULL, 0);
}

static void reply_number(const struct join *j, struct reply *out)
{
    uint64_t result = 0;

    for (uint32_t i = 0; i < j->parts_count; i++) {
        int64_t number = 0;
        size_t len;
        if (head(part_of(j, i), &number, &len))
            result =
                j->kind == JOIN_MAX ? u64_max(result, (uint64_t)number) : result + (uint64_t)number;
    }
    reply_u64(out, u64_min(result, j->limit));
}

static void reply_array_of_all(const struct join *j, struct reply *out)
{
    uint64_t total = 0, count;

    for (uint32_t i = 0; i < j->parts_count; i++) {
        (void)elements(part_of(j, i), &count);
        total += count;
    }
    reply_array(out, total);
    for (uint32_t i = 0; i < j->parts_count; i++) {
        const struct bytes in = elements(part_of(j, i), &count);
        reply_raw(out, in.ptr, in.len);
    }
}

static void reply_placed(const struct join *j, struct reply *out)
{
    struct bytes *rest = mem_zalloc_array(j->parts_count, sizeof(*rest));
    uint64_t count;

    for (uint32_t i = 0; i < j->parts_count; i++)
        rest[i] = elements(part_of(j, i), &count);
    reply_array(out, j->places_count);
    for (uint32_t i = 0; i < j->places_count; i++) {
        struct bytes *in = &rest[j->places[i]];
        const size_t len = join_element_bytes(*in);
        CHECK(len != 0);
        reply_raw(out, in->ptr, len);
        *in = bytes_from(*in, len);
    }
    mem_free(rest);
}

/* The arrays side by side: they have the same elements but for integers. */
static void reply_sums(const struct join *j, struct reply *out)
{
    struct bytes *rest = mem_zalloc_array(j->parts_count, sizeof(*rest));
    uint64_t count = 0;

    for (uint32_t i = 0; i < j->parts_count; i++)
        rest[i] = elements(part_of(j, i), &count);
    reply_array(out, count);
    for (uint64_t e = 0; e < count; e++) {
        const struct bytes first = rest[0];
        uint64_t sum = 0;
        for (uint32_t i = 0; i < j->parts_count; i++) {
            int64_t number = 0;
            size_t head_len;
            const size_t len = join_element_bytes(rest[i]);
            CHECK(len != 0 && head(rest[i], &number, &head_len));
            sum += (uint64_t)number;
            rest[i] = bytes_from(rest[i], len);
        }
        if (first.ptr[0] == ':')
            reply_u64(out, sum);
        else
            reply_raw(out, first.ptr, first.len - rest[0].len);
    }
    mem_free(rest);
}

/* --- what is sorted --- */

struct sortable {
    uint64_t number;
    struct bytes text;
};

struct sortables {
    struct sortable *item;
    size_t count;
    size_t cap;
};

static void sortable_add(struct sortables *s, uint64_t number, struct bytes text)
{
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? 64 : s->cap * 2;
        s->item = mem_realloc(s->item, s->cap * sizeof(*s->item));
    }
    s->item[s->count++] = (struct sortable){.number = number, .text = text};
}

static int by_number(const void *a, const void *b)
{
    const struct sortable *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static void sort(struct sortables *s)
{
    if (s->count != 0)
        qsort(s->item, s->count, sizeof(*s->item), by_number);
}

static int by_text(const void *a, const void *b)
{
    const struct sortable *x = a, *y = b;

    return bytes_cmp(x->text, y->text);
}

static void reply_union(const struct join *j, struct reply *out)
{
    struct sortables s = {0};
    uint64_t n = 0;

    for (uint32_t i = 0; i < j->parts_count; i++) {
        uint64_t count;
        struct bytes in = elements(part_of(j, i), &count);
        for (size_t len; (len = join_element_bytes(in)) != 0; in = bytes_from(in, len))
            sortable_add(&s, 0, bytes_of(in.ptr, len));
    }
    if (s.count != 0)
        qsort(s.item, s.count, sizeof(*s.item), by_text);
    const struct reply_mark mark = reply_deferred_begin(out, s.count);
    for (size_t i = 0; i < s.count; i++) {
        if (i != 0 && bytes_eq(s.item[i].text, s.item[i - 1].text))
            continue;
        reply_raw(out, s.item[i].text.ptr, s.item[i].text.len);
        n++;
    }
    reply_deferred_array(out, mark, n);
    mem_free(s.item);
}

/* Of the pair at the start: its head and its number, up to the element. */
static size_t pair_head_bytes(struct bytes in)
{
    int64_t number;
    size_t head_len = 0, stamp_len = 0;

    CHECK(head(in, &number, &head_len) && head(bytes_from(in, head_len), &number, &stamp_len));
    return head_len + stamp_len;
}

static void reply_newest(const struct join *j, struct reply *out)
{
    struct sortables s = {0};

    for (uint32_t i = 0; i < j->parts_count; i++) {
        uint64_t count;
        struct bytes in = elements(part_of(j, i), &count);
        while (in.len != 0) {
            int64_t number = 0;
            size_t head_len;
            const size_t len = join_element_bytes(in);
            if (len == 0 || !head(in, &number, &head_len) ||
                !head(bytes_from(in, head_len), &number, &head_len))
                break;
            const size_t skip = j->kind == JOIN_STAMPED ? pair_head_bytes(in) : 0;
            sortable_add(&s, (uint64_t)number, bytes_of(in.ptr + skip, len - skip));
            in = bytes_from(in, len);
        }
    }
    sort(&s);
    const uint64_t n = u64_min(s.count, j->limit);
    reply_array(out, n);
    for (uint64_t i = 0; i < n; i++) {
        const struct bytes text = s.item[s.count - 1 - i].text;
        reply_raw(out, text.ptr, text.len);
    }
    mem_free(s.item);
}

/* The lines of a bulk or verbatim string. */
static void add_lines(struct sortables *s, struct bytes text)
{
    int64_t number = 0;
    size_t len;
    const bool verbatim = text.len != 0 && text.ptr[0] == '=';

    if (!head(text, &number, &len) || number <= 0 || len + (uint64_t)number > text.len)
        return;
    struct bytes in = bytes_of(text.ptr + len, (size_t)number);
    if (verbatim)
        in = bytes_from(in, size_min(in.len, 4)); /* "txt:" */
    while (in.len != 0) {
        const uint8_t *end = memchr(in.ptr, '\n', in.len);
        const size_t line = end == NULL ? in.len : (size_t)(end - in.ptr) + 1;
        uint64_t id = 0;
        for (size_t i = 3; i < line && in.ptr[i] >= '0' && in.ptr[i] <= '9'; i++)
            id = id * 10 + (uint64_t)(in.ptr[i] - '0');
        sortable_add(s, id, bytes_of(in.ptr, line));
        in = bytes_from(in, line);
    }
}

static void reply_lines(const struct join *j, struct reply *out)
{
    struct sortables s = {0};
    struct buf text;

    buf_init(&text, PART_BYTES_MAX);
    for (uint32_t i = 0; i < j->parts_count; i++)
        add_lines(&s, part_of(j, i));
    sort(&s);
    for (size_t i = 0; i < s.count; i++)
        IGNORE_RESULT(buf_append_bytes(&text, s.item[i].text)); /* Cut if there is no memory. */
    reply_verbatim(out, buf_bytes(&text), "txt");
    buf_deinit(&text);
    mem_free(s.item);
}

void join_reply(struct join *j, struct reply *out)
{
    if (j->failed) {
        out->failed = true;
        return;
    }
    const struct bytes one = one_for_all(j);
    if (one.len != 0) {
        reply_raw(out, one.ptr, one.len);
        return;
    }
    switch (j->kind) {
    case JOIN_SUM:
    case JOIN_MAX:
        reply_number(j, out);
        return;
    case JOIN_ARRAY:
        reply_array_of_all(j, out);
        return;
    case JOIN_UNION:
        reply_union(j, out);
        return;
    case JOIN_SUMS:
        reply_sums(j, out);
        return;
    case JOIN_PLACE:
        reply_placed(j, out);
        return;
    case JOIN_LINES:
        reply_lines(j, out);
        return;
    case JOIN_NEWEST:
    case JOIN_STAMPED:
        reply_newest(j, out);
        return;
    case JOIN_FIRST:
    case JOIN_OK:
    case JOIN_ANY:
        return;
    }
}
