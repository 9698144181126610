/* Commands parsed ahead of their turn; window.h tells why. */
#include "server/window.h"

#include "server/conn.h"
#include "server/shard.h"

void window_init(struct window *w)
{
    for (uint32_t i = 0; i < WINDOW_COMMANDS; i++) {
        resp_cmd_init(&w->cmds[i]);
        resp_cmd_reserve(&w->cmds[i], WINDOW_ARGS_MAX);
    }
    for (uint32_t i = 0; i < REACTOR_AHEAD_MAX; i++) {
        resp_cmd_init(&w->next[i].cmd);
        resp_cmd_reserve(&w->next[i].cmd, WINDOW_ARGS_MAX);
    }
}

void window_deinit(struct window *w)
{
    for (uint32_t i = 0; i < WINDOW_COMMANDS; i++)
        resp_cmd_deinit(&w->cmds[i]);
    for (uint32_t i = 0; i < REACTOR_AHEAD_MAX; i++)
        resp_cmd_deinit(&w->next[i].cmd);
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

/* Whether the input is one whole command of a client that has nothing else before it. */
static bool plan_next(struct shard *sh, const struct reactor_ahead *ahead, struct window_next *next)
{
    struct conn *c = conn_of_sock(ahead->sock);

    if (c == NULL || !conn_idle(c))
        return false;
    const struct resp_limits limits = shard_resp_limits(sh, c);
    if (!resp_parse_whole(&c->parser, &limits, bytes_of(ahead->ptr, ahead->len), &next->cmd) ||
        next->cmd.consumed != ahead->len)
        return false;
    next->conn = c;
    next->ptr = ahead->ptr;
    dispatch_plan(sh, &next->cmd, &next->plan);
    return true;
}

void window_announced(void *ctx, const struct reactor_ahead *ahead, uint32_t n)
{
    struct shard *sh = ctx;
    struct window *w = &sh->window;
    uint32_t keys = 0;

    w->next_at = 0;
    w->next_count = 0;
    /* One alone has nothing to wait together with. */
    for (uint32_t i = 0; i < n && n > 1; i++) {
        struct window_next *next = &w->next[w->next_count];
        if (!plan_next(sh, &ahead[i], next))
            continue;
        w->next_count++;
        if (next->plan.key_at != 0)
            w->ahead[keys++] = ahead_of(&next->cmd, &next->plan);
    }
    if (keys > 1)
        ks_ahead(sh->ks, w->ahead, keys);
}

const struct window_next *window_take(struct window *w, const struct conn *c, struct bytes in)
{
    /* Those before it, whose connections were closed or paused meanwhile, will not come. */
    for (uint32_t i = w->next_at; i < w->next_count; i++) {
        const struct window_next *next = &w->next[i];
        if (next->ptr != in.ptr || next->conn != c)
            continue;
        w->next_at = i + 1;
        return next->cmd.consumed == in.len ? next : NULL;
    }
    return NULL;
}
