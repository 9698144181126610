/* Commands parsed ahead of their turn; window.h tells why. */
#include "server/window.h"

#include "server/shard.h"

void window_init(struct window *w)
{
    for (uint32_t i = 0; i < WINDOW_COMMANDS; i++) {
        resp_cmd_init(&w->cmds[i]);
        resp_cmd_reserve(&w->cmds[i], WINDOW_ARGS_MAX);
    }
}

void window_deinit(struct window *w)
{
    for (uint32_t i = 0; i < WINDOW_COMMANDS; i++)
        resp_cmd_deinit(&w->cmds[i]);
}

/* The one key that the command names, and the first element that it names. */
static struct ks_ahead ahead_of(const struct resp_cmd *rc, const struct dispatch_plan *plan)
{
    struct ks_ahead a = {.key = plan->key};
    const struct cmd_need *need = &plan->need;

    if (need->kind == NEED_SUBKEYS && need->first < need->end && need->first < rc->argc) {
        a.sub = rc->argv[need->first];
        a.has_sub = a.sub.len <= KS_NAME_BYTES_MAX;
    }
    return a;
}

uint32_t window_fill(struct shard *sh, struct resp_parser *parser, const struct resp_limits *limits,
                     struct bytes in)
{
    struct window *w = &sh->window;
    uint32_t count = 0;
    uint32_t keys = 0;

    while (count < WINDOW_COMMANDS && resp_parse_whole(parser, limits, in, &w->cmds[count])) {
        const struct resp_cmd *rc = &w->cmds[count];
        struct dispatch_plan *plan = &w->plans[count];
        dispatch_plan(sh, rc, plan);
        if (plan->key_at != 0)
            w->ahead[keys++] = ahead_of(rc, plan);
        in = bytes_from(in, rc->consumed);
        count++;
    }
    if (keys > 1)
        ks_ahead(sh->ks, w->ahead, keys);
    return count;
}
