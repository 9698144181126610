/* What commands need of lists; need_list.h tells. */
#include "server/need_list.h"

#include "engine/base/num.h"

#include "engine/space/coll.h"

/* Arguments that are not in order need nothing: the handler will refuse them. */
static uint64_t count_at(uint32_t index, uint32_t argc, const struct bytes *argv,
                         uint64_t otherwise)
{
    int64_t n;

    if (index >= argc)
        return otherwise;
    return num_parse_i64(argv[index], &n) && n > 0 ? (uint64_t)n : 0;
}

static struct list_need at_end(bool front, uint64_t n, uint64_t slack)
{
    n = n > UINT64_MAX - slack ? UINT64_MAX : n + slack;
    return (struct list_need){.front = front ? n : 0, .back = front ? 0 : n};
}

/* numkeys key .. LEFT | RIGHT [COUNT count], of LMPOP from argument 1 on, of BLMPOP from 2 on. */
static struct list_need of_lmpop(uint32_t at, uint32_t argc, const struct bytes *argv,
                                 uint64_t slack)
{
    const uint64_t where = count_at(at, argc, argv, 0) + at + 1;

    if (where >= argc)
        return (struct list_need){0};
    return at_end(bytes_eq_nocase(argv[where], "LEFT"),
                  count_at((uint32_t)where + 2, argc, argv, 1), slack);
}

/* Elements first .. last, both from the front: from the nearer end. */
static struct list_need of_span(const struct coll *coll, uint64_t first, uint64_t last,
                                uint64_t slack)
{
    const uint64_t front = last + 1 + slack;
    const uint64_t back = coll->count - first + slack;
    const uint64_t have_front = coll_list_front(coll), have_back = coll_list_back(coll);

    if (front <= have_front || back <= have_back)
        return (struct list_need){0};
    return at_end(front - have_front <= back - have_back,
                  front - have_front <= back - have_back ? front : back, 0);
}

/* The arguments of a range as indexes; false if nothing is within. */
static bool range_at(const struct coll *coll, const struct bytes *start, const struct bytes *end,
                     int64_t *out_first, int64_t *out_last)
{
    const int64_t size = (int64_t)coll->count;

    if (!num_parse_i64(*start, out_first) || !num_parse_i64(*end, out_last))
        return false;
    *out_first = *out_first < 0 ? i64_max(*out_first + size, 0) : *out_first;
    *out_last = *out_last < 0 ? *out_last + size : i64_min(*out_last, size - 1);
    return *out_first <= *out_last;
}

/*
 * LTRIM: what is to go or, if that is more than has to be read for what stays, all up to there. Not
 * within a transaction, after whose other commands it may be the other way round.
 */
static struct list_need of_ltrim(const struct coll *coll, int64_t first, int64_t last,
                                 uint64_t slack)
{
    const uint64_t before = (uint64_t)first, behind = coll->count - (uint64_t)last - 1;
    const uint64_t stays = coll->count - before - behind;

    if (slack == 0 && stays + u64_min(before, behind) < (before + behind) / 2)
        return of_span(coll, before, (uint64_t)last, 0);
    return (struct list_need){.front = before + slack, .back = behind + slack};
}

/* LPOS: all, unless MAXLEN tells how far it goes, from the end that RANK tells. */
static struct list_need of_lpos(uint32_t argc, const struct bytes *argv, uint64_t slack)
{
    uint64_t len = UINT64_MAX;
    bool front = true;

    for (uint32_t i = 3; i + 1 < argc; i += 2) {
        if (bytes_eq_nocase(argv[i], "RANK"))
            front = argv[i + 1].len == 0 || argv[i + 1].ptr[0] != '-';
        else if (bytes_eq_nocase(argv[i], "MAXLEN"))
            len = count_at(i + 1, argc, argv, 0);
    }
    return at_end(front, len != 0 ? len : UINT64_MAX, slack);
}

struct list_need list_need(const struct cmd *cmd, uint32_t spec, uint32_t argc,
                           const struct bytes *argv, const struct coll *coll, uint64_t slack)
{
    int64_t first, last;

    switch (cmd->id) {
    case CMD_ID_lpop:
    case CMD_ID_rpop:
        return at_end(cmd->id == CMD_ID_lpop, count_at(2, argc, argv, 1), slack);
    case CMD_ID_lmpop:
    case CMD_ID_blmpop:
        return of_lmpop(cmd->id == CMD_ID_lmpop ? 1 : 2, argc, argv, slack);
    case CMD_ID_blpop:
    case CMD_ID_brpop:
        return at_end(cmd->id == CMD_ID_blpop, 1, slack);
    case CMD_ID_lmove:
    case CMD_ID_blmove:
        return spec == 0 ? at_end(bytes_eq_nocase(argv[3], "LEFT"), 1, slack)
                         : (struct list_need){0};
    case CMD_ID_rpoplpush:
    case CMD_ID_brpoplpush:
        return spec == 0 ? at_end(false, 1, slack) : (struct list_need){0};
    case CMD_ID_lindex:
    case CMD_ID_lset:
        if (range_at(coll, &argv[2], &argv[2], &first, &last))
            return of_span(coll, (uint64_t)first, (uint64_t)last, slack);
        break;
    case CMD_ID_lrange:
        if (range_at(coll, &argv[2], &argv[3], &first, &last))
            return of_span(coll, (uint64_t)first, (uint64_t)last, slack);
        break;
    case CMD_ID_ltrim:
        if (range_at(coll, &argv[2], &argv[3], &first, &last))
            return of_ltrim(coll, first, last, slack);
        break;
    case CMD_ID_lpos:
        return of_lpos(argc, argv, slack);
    default:
        return (struct list_need){.front = coll->count};
    }
    /* Nothing now; within a transaction the list may be another one by then. */
    return (struct list_need){.front = slack == 0 ? 0 : coll->count};
}

uint64_t list_need_moved(const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    switch (cmd->id) {
    case CMD_ID_lpop:
    case CMD_ID_rpop:
        return count_at(2, argc, argv, 1);
    case CMD_ID_lmpop:
    case CMD_ID_blmpop: {
        const struct list_need n = of_lmpop(cmd->id == CMD_ID_lmpop ? 1 : 2, argc, argv, 0);
        return n.front + n.back;
    }
    case CMD_ID_ltrim:
        return UINT32_MAX;
    default:
        /* Pushes and moves: at most one element an argument. */
        return argc;
    }
}
