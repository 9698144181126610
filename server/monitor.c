/* Commands as lines, for those who monitor; monitor.h tells. */
#include "server/monitor.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

#include "server/conn.h"
#include "server/forward.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/redact.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/words.h"

/* A line of a longer command is left out. Bytes. */
#define LINE_BYTES_MAX ((size_t)UINT32_MAX)

bool monitor_is(const struct conn *c)
{
    return list_linked(&c->monitor_link);
}

bool monitor_join(struct conn *c)
{
    if (monitor_is(c))
        return false;
    list_push_back(&c->sh->monitors, &c->monitor_link);
    atomic_fetch_add(&c->sh->monitors_count, 1);
    atomic_fetch_add(&c->sh->node->monitors_count, 1);
    return true;
}

void monitor_leave(struct conn *c)
{
    if (!monitor_is(c))
        return;
    list_remove(&c->monitor_link);
    atomic_fetch_sub(&c->sh->monitors_count, 1);
    atomic_fetch_sub(&c->sh->node->monitors_count, 1);
}

/* --- lines --- */

static int write_line(const struct conn *c, const struct cmd *cmd, uint32_t argc,
                      const struct bytes *argv, struct buf *out)
{
    const uint64_t us = clock_wall_us();
    int err = buf_printf(out, "+%llu.%06llu [0 %s%s]", (unsigned long long)(us / 1000000),
                         (unsigned long long)(us % 1000000), c->local ? "unix:" : "",
                         c->local ? shard_unixsocket(c->sh) : c->addr);

    for (uint32_t i = 0; i < argc && err == 0; i++) {
        err = buf_append_u8(out, ' ');
        if (err == 0)
            err = words_quote(out, redact_arg(cmd, argc, argv, i) ? BYTES_LIT(REDACTED) : argv[i]);
    }
    return err != 0 ? err : buf_append(out, "\r\n", 2);
}

/* To those of this shard; `but`: not now, it is within a reply of its own. */
static void deliver(struct shard *sh, struct bytes line, const struct conn *but)
{
    LIST_FOR_EACH_SAFE(link, &sh->monitors) {
        struct conn *c = LIST_ITEM(link, struct conn, monitor_link);
        if (c == but || c->closing)
            continue;
        pubsub_open(c);
        reply_raw(pubsub_out(c), line.ptr, line.len);
        pubsub_wrote(c);
    }
}

struct line_mail {
    struct mail mail;
    struct shard *to;
    size_t len;
    uint8_t text[];
};

static void on_line(struct mail *mail)
{
    struct line_mail *m = container_of(mail, struct line_mail, mail);
    struct shard *sh = m->to;

    deliver(sh, bytes_of(m->text, m->len), NULL);
    atomic_fetch_sub(&sh->monitor_backlog, m->len);
    mem_free(m);
    if (likely(!atomic_load_explicit(&sh->monitor_lost, memory_order_relaxed)))
        return;
    /* Lines are missing. */
    atomic_store(&sh->monitor_lost, false);
    LIST_FOR_EACH_SAFE(link, &sh->monitors)
        conn_close(LIST_ITEM(link, struct conn, monitor_link));
}

static void post(struct shard *from, struct shard *to, struct bytes line)
{
    if (atomic_load_explicit(&to->monitor_backlog, memory_order_relaxed) >
        MONITOR_BACKLOG_BYTES_MAX) {
        atomic_store(&to->monitor_lost, true);
        return;
    }
    struct line_mail *m = mem_alloc(sizeof(*m) + line.len);
    *m = (struct line_mail){.mail = {.fn = on_line}, .to = to, .len = line.len};
    memcpy(m->text, line.ptr, line.len);
    atomic_fetch_add(&to->monitor_backlog, line.len);
    forward_post(from, to->id, &m->mail);
}

static void show(struct conn *c, const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                 const struct conn *but)
{
    const struct node *node = c->sh->node;
    struct buf line;

    if ((cmd->flags & (CMD_ADMIN | CMD_SKIP_MONITOR)) != 0)
        return;
    buf_init(&line, LINE_BYTES_MAX);
    const bool ok = write_line(c, cmd, argc, argv, &line) == 0;
    for (uint32_t i = 0; i < node->shards_count && ok; i++) {
        struct shard *to = node->shards[i];
        if (to == c->sh)
            deliver(to, buf_bytes(&line), but);
        else if (atomic_load_explicit(&to->monitors_count, memory_order_relaxed) != 0)
            post(c->sh, to, buf_bytes(&line));
    }
    buf_deinit(&line);
}

void monitor_ran(const struct request *rq)
{
    /* What came from another shard was shown there. */
    if (rq->conn->is_agent && !rq->nested && rq->cmd->id != CMD_ID_exec)
        return;
    show(rq->conn, rq->cmd, rq->argc, rq->argv, rq->nested ? rq->conn : NULL);
}

void monitor_show(struct conn *c, const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    show(c, cmd, argc, argv, NULL);
}
