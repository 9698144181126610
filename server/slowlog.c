/* The slow log: a ring; slowlog.h tells what it keeps. */
#include "server/slowlog.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/node.h"
#include "server/redact.h"
#include "server/shard.h"

struct slowlog {
    struct slowlog_entry *ring;
    uint64_t cap;
    uint64_t first; /* Index of the oldest. */
    uint64_t count;
};

struct slowlog *slowlog_create(void)
{
    return mem_zalloc(sizeof(struct slowlog));
}

static void drop_oldest(struct slowlog *log)
{
    mem_free(log->ring[log->first].text);
    log->first = (log->first + 1) % log->cap;
    log->count--;
}

void slowlog_reset(struct slowlog *log)
{
    while (log->count != 0)
        drop_oldest(log);
}

void slowlog_destroy(struct slowlog *log)
{
    if (log == NULL)
        return;
    slowlog_reset(log);
    mem_free(log->ring);
    mem_free(log);
}

/* Room for slowlog-max-len entries, whatever it was before. */
static void resize(struct slowlog *log, uint64_t cap)
{
    while (log->count > cap)
        drop_oldest(log);
    if (log->cap == cap)
        return;
    struct slowlog_entry *ring = mem_zalloc_array(cap == 0 ? 1 : cap, sizeof(*ring));
    for (uint64_t i = 0; i < log->count; i++)
        ring[i] = log->ring[(log->first + i) % log->cap];
    mem_free(log->ring);
    log->ring = ring;
    log->cap = cap;
    log->first = 0;
}

/* Copies the arguments, cut and without passwords, into one block. */
static void copy_args(struct slowlog_entry *e, const struct cmd *cmd, uint32_t argc,
                      const struct bytes *argv)
{
    char note[64];

    e->argc = argc < SLOWLOG_ARGS_MAX ? argc : SLOWLOG_ARGS_MAX;
    uint8_t *p = e->text = mem_alloc((size_t)e->argc * (SLOWLOG_ARG_BYTES_MAX + sizeof(note)));
    for (uint32_t i = 0; i < e->argc; i++) {
        const struct bytes arg = redact_arg(cmd, argc, argv, i) ? BYTES_LIT(REDACTED) : argv[i];
        size_t len = size_min(arg.len, SLOWLOG_ARG_BYTES_MAX);
        e->argv[i].ptr = p;
        if (i == SLOWLOG_ARGS_MAX - 1 && argc > SLOWLOG_ARGS_MAX) {
            len = (size_t)snprintf(note, sizeof(note), "... (%u more arguments)",
                                   argc - SLOWLOG_ARGS_MAX + 1);
            memcpy(p, note, len);
        } else if (arg.len > SLOWLOG_ARG_BYTES_MAX) {
            memcpy(p, arg.ptr, len);
            const int n = snprintf(note, sizeof(note), "... (%zu more bytes)",
                                   arg.len - SLOWLOG_ARG_BYTES_MAX);
            memcpy(p + len, note, (size_t)n);
            len += (size_t)n;
        } else if (len != 0) {
            memcpy(p, arg.ptr, len);
        }
        e->argv[i].len = len;
        p += len;
    }
}

void slowlog_add(struct conn *c, const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                 uint64_t spent_us)
{
    struct slowlog *log = c->sh->slowlog;
    const struct config *cfg = c->sh->cfg;

    if (cfg->slowlog_log_slower_than < 0)
        return;
    resize(log, (uint64_t)cfg->slowlog_max_len);
    if (log->cap == 0)
        return;
    if (log->count == log->cap)
        drop_oldest(log);
    struct slowlog_entry *e = &log->ring[(log->first + log->count++) % log->cap];
    *e = (struct slowlog_entry){
        .id = atomic_fetch_add_explicit(&c->sh->node->next_slow_id, 1, memory_order_relaxed),
        .at_s = reactor_wall_ms(c->sh->reactor) / 1000,
        .spent_us = spent_us};
    copy_args(e, cmd, argc, argv);
    (void)snprintf(e->addr, sizeof(e->addr), "%s", c->addr);
    (void)snprintf(e->name, sizeof(e->name), "%s", c->name == NULL ? "" : c->name);
}

uint64_t slowlog_count(const struct slowlog *log)
{
    return log->count;
}

const struct slowlog_entry *slowlog_at(const struct slowlog *log, uint64_t index)
{
    return &log->ring[(log->first + log->count - 1 - index) % log->cap];
}
