/*
 * See the header.
 */
#include "server/config_reply.h"

#include "server/config.h"
#include "server/reply.h"

struct get_state {
    struct reply *r;
    uint64_t count;
};

static void on_found(void *ctx, const char *name, struct bytes value)
{
    struct get_state *state = ctx;

    reply_bulk_cstr(state->r, name);
    reply_bulk(state->r, value);
    state->count++;
}

void config_reply_get(struct reply *r, const struct config *cfg, uint32_t argc,
                      const struct bytes *argv)
{
    struct get_state state = {.r = r};
    const struct reply_mark mark = reply_deferred_begin(r, 2);

    config_get(cfg, argv + 2, argc - 2, on_found, &state);
    reply_deferred_map(r, mark, state.count);
}

void config_reply_set(struct reply *r, struct config *cfg, bool local, uint32_t argc,
                      const struct bytes *argv)
{
    struct config_error err;

    if (argc % 2 != 0)
        reply_err_syntax(r);
    else if (config_set(cfg, argv + 2, (argc - 2) / 2, local, &err) != 0)
        reply_error(r, "ERR %s", err.text);
    else
        reply_ok(r);
}

void config_reply_rewrite(struct reply *r, const struct config *cfg)
{
    struct config_error err;

    if (config_rewrite(cfg, false, &err) != 0)
        reply_error(r, "ERR %s", err.text);
    else
        reply_ok(r);
}

void config_reply_help(struct reply *r)
{
    static const char *const lines[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        NULL,
    };

    reply_help(r, "CONFIG", lines);
}
