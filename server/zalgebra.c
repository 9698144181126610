/* Arguments of the algebra of sorted sets; zalgebra.h. */
#include "server/zalgebra.h"

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "server/reply.h"

/* What the command itself says. False: it is none of these. */
static bool fixed(const struct cmd *cmd, struct zalgebra *out)
{
    *out = (struct zalgebra){.store = (cmd->flags & CMD_WRITE) != 0,
                             .card = cmd->id == CMD_ID_zintercard};
    switch (cmd->id) {
    case CMD_ID_zunion:
    case CMD_ID_zunionstore:
        out->op = COLLMERGE_UNION;
        return true;
    case CMD_ID_zinter:
    case CMD_ID_zinterstore:
    case CMD_ID_zintercard:
        out->op = COLLMERGE_INTER;
        return true;
    case CMD_ID_zdiff:
    case CMD_ID_zdiffstore:
        out->op = COLLMERGE_DIFF;
        return true;
    default:
        return false;
    }
}

bool zalgebra_is(const struct cmd *cmd)
{
    struct zalgebra a;

    return fixed(cmd, &a);
}

enum zalgebra_error zalgebra_keys(const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                                  struct zalgebra *out)
{
    int64_t n;

    CHECK(fixed(cmd, out));
    const uint32_t at = out->store ? 2 : 1;
    CHECK(at < argc);
    if (!num_parse_i64(argv[at], &n))
        return ZALGEBRA_NOT_INTEGER;
    if (n < 1)
        return ZALGEBRA_NO_KEYS;
    if (n > argc - (at + 1))
        return ZALGEBRA_SYNTAX;
    out->keys_at = at + 1;
    out->keys_count = (uint32_t)n;
    return ZALGEBRA_OK;
}

static enum zalgebra_error parse_weights(const struct bytes *argv, uint32_t at,
                                         struct zalgebra *out)
{
    double weight;

    for (uint32_t i = 0; i < out->keys_count; i++) {
        if (!num_parse_double(argv[at + i], &weight))
            return ZALGEBRA_WEIGHT;
    }
    out->weights_at = at;
    return ZALGEBRA_OK;
}

static enum zalgebra_error parse_aggregate(struct bytes word, struct zalgebra *out)
{
    if (bytes_eq_nocase(word, "SUM"))
        out->aggregate = COLLMERGE_SUM;
    else if (bytes_eq_nocase(word, "MIN"))
        out->aggregate = COLLMERGE_MIN;
    else if (bytes_eq_nocase(word, "MAX"))
        out->aggregate = COLLMERGE_MAX;
    else
        return ZALGEBRA_SYNTAX;
    return ZALGEBRA_OK;
}

enum zalgebra_error zalgebra_options(uint32_t argc, const struct bytes *argv, struct zalgebra *out)
{
    const bool weighted = out->op != COLLMERGE_DIFF && !out->card;
    enum zalgebra_error err = ZALGEBRA_OK;

    for (uint32_t i = out->keys_at + out->keys_count; err == ZALGEBRA_OK && i < argc;) {
        const uint32_t left = argc - i;
        if (weighted && left > out->keys_count && bytes_eq_nocase(argv[i], "WEIGHTS")) {
            err = parse_weights(argv, i + 1, out);
            i += 1 + out->keys_count;
        } else if (weighted && left >= 2 && bytes_eq_nocase(argv[i], "AGGREGATE")) {
            err = parse_aggregate(argv[i + 1], out);
            i += 2;
        } else if (!out->store && !out->card && bytes_eq_nocase(argv[i], "WITHSCORES")) {
            out->scores = true;
            i++;
        } else if (out->card && left >= 2 && bytes_eq_nocase(argv[i], "LIMIT")) {
            if (!num_parse_i64(argv[i + 1], &out->limit) || out->limit < 0)
                err = ZALGEBRA_LIMIT;
            i += 2;
        } else {
            err = ZALGEBRA_SYNTAX;
        }
    }
    return err;
}

double zalgebra_weight(const struct zalgebra *a, const struct bytes *argv, uint32_t i)
{
    double weight = 1.0;

    if (a->weights_at != 0)
        CHECK(num_parse_double(argv[a->weights_at + i], &weight));
    return weight;
}

void zalgebra_reply_error(struct reply *r, const struct cmd *cmd, enum zalgebra_error why)
{
    switch (why) {
    case ZALGEBRA_NOT_INTEGER:
        reply_err_not_integer(r);
        return;
    case ZALGEBRA_NO_KEYS:
        reply_error(r, "ERR at least 1 input key is needed for '%s' command", cmd->name);
        return;
    case ZALGEBRA_SYNTAX:
        reply_err_syntax(r);
        return;
    case ZALGEBRA_WEIGHT:
        reply_error(r, "ERR weight value is not a float");
        return;
    case ZALGEBRA_LIMIT:
        reply_error(r, "ERR LIMIT can't be negative");
        return;
    case ZALGEBRA_OK:
        break;
    }
    UNREACHABLE();
}
