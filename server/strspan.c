/* Spans of strings; strspan.h tells what for. */
#include "server/strspan.h"

#include "engine/base/num.h"

#include "engine/space/resident.h"
#include "engine/space/strval.h"

#include "server/bits.h"
#include "server/command.h"

bool strspan_clamp(int64_t start, int64_t end, uint64_t len, uint64_t *out_first, uint64_t *out_end)
{
    const int64_t n = (int64_t)len;

    if (n == 0 || (start < 0 && end < 0 && start > end))
        return false;
    start = start < 0 ? i64_max(start + n, 0) : start;
    end = end < 0 ? i64_max(end + n, 0) : i64_min(end, n - 1);
    if (start > end)
        return false;
    *out_first = (uint64_t)start;
    *out_end = (uint64_t)end + 1;
    return true;
}

bool strspan_is(const struct cmd *cmd)
{
    switch (cmd->id) {
    case CMD_ID_getrange:
    case CMD_ID_substr:
    case CMD_ID_setrange:
    case CMD_ID_append:
    case CMD_ID_setbit:
    case CMD_ID_getbit:
    case CMD_ID_bitcount:
    case CMD_ID_bitpos:
    case CMD_ID_bitfield:
    case CMD_ID_bitfield_ro:
        return true;
    default:
        return false;
    }
}

/* What the calls for one key share. */
struct span {
    struct keyspace *ks;
    const struct ks_key *key;
    struct ks_wait *wait;
};

static int need(const struct span *s, uint64_t first, uint64_t end)
{
    return ks_need_bytes(s->ks, s->key, first, end, s->wait);
}

/* Bytes that are written over: only of the chunks at both ends something else is kept. */
static int need_ends(const struct span *s, uint64_t first, uint64_t end)
{
    int waiting = 0;

    /* One chunk is never too much. */
    if (first % ROW_CHUNK_BYTES != 0)
        waiting += need(s, first, first + 1);
    if (end % ROW_CHUNK_BYTES != 0)
        waiting += need(s, end - 1, end);
    return waiting;
}

static int need_range(const struct span *s, const struct bytes *argv, uint64_t len)
{
    int64_t start, end;
    uint64_t first, behind;

    if (!num_parse_i64(argv[2], &start) || !num_parse_i64(argv[3], &end) ||
        !strspan_clamp(start, end, len, &first, &behind))
        return 0;
    return need(s, first, behind);
}

static int need_bit_range(const struct span *s, const struct strspan_asked *asked, uint64_t len)
{
    struct bits_range range;
    const bool pos = asked->cmd->id == CMD_ID_bitpos;

    if (bits_range(asked->argc, asked->argv, pos ? 3 : 2, pos, len, &range) != BITS_OK)
        return 0;
    return need(s, range.first / 8, (range.end + 7) / 8);
}

/* What does not fit is refused by the handler. */
static int need_fields(const struct span *s, uint32_t argc, const struct bytes *argv)
{
    struct field_args args = {.argc = argc, .argv = argv, .string_bytes_max = UINT32_MAX, .at = 2};
    struct field_op op;
    int waiting = 0;

    while (field_next(&args, &op) == FIELD_OP)
        waiting += need(s, op.offset / 8, (op.offset + op.width - 1) / 8 + 1);
    return waiting;
}

static int need_of(const struct span *s, const struct strspan_asked *asked, uint64_t len)
{
    const struct bytes *argv = asked->argv;
    int64_t offset;

    switch (asked->cmd->id) {
    case CMD_ID_getrange:
    case CMD_ID_substr:
        return need_range(s, argv, len);
    case CMD_ID_append:
        return need_ends(s, len, len + argv[2].len);
    case CMD_ID_setrange:
        if (!num_parse_i64(argv[2], &offset) || offset < 0 || argv[3].len == 0)
            return 0;
        return need_ends(s, (uint64_t)offset, (uint64_t)offset + argv[3].len);
    case CMD_ID_setbit:
    case CMD_ID_getbit:
        if (!num_parse_i64(argv[2], &offset) || offset < 0)
            return 0;
        return need(s, (uint64_t)offset / 8, (uint64_t)offset / 8 + 1);
    case CMD_ID_bitcount:
    case CMD_ID_bitpos:
        return need_bit_range(s, asked, len);
    case CMD_ID_bitfield:
    case CMD_ID_bitfield_ro:
        return need_fields(s, asked->argc, argv);
    default:
        return 0;
    }
}

int strspan_need(struct keyspace *ks, const struct ks_key *key, const struct strspan_asked *asked,
                 uint64_t now_ms, struct ks_wait *wait)
{
    const struct span s = {.ks = ks, .key = key, .wait = wait};

    const int waiting = ks_need_key(ks, key, wait);
    if (waiting != 0)
        return waiting;
    const struct obj *obj = ks_get(ks, key, now_ms);
    if (obj == NULL || !obj_is_chunked(obj))
        return 0;
    return need_of(&s, asked, strval_len(obj));
}
