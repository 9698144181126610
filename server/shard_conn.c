/* What connections ask of their shard, and how they come to it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"

#include "server/acl.h"
#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"
#include "server/shard_turn.h"

/*
 * All clients' input that waits for parked commands may take this part of maxmemory: an eighth, as
 * a buffer is up to twice as large as what it holds.
 */
#define INPUT_SHARE 16
/* But one client's within these. Bytes. */
#define INPUT_BYTES_MIN (16u << 10)
#define INPUT_BYTES_MAX (1u << 20)
/* Of one connection in one go, where a command does not take longer by itself. Nanoseconds. */
#define GO_NS_MAX 500000

struct resp_limits shard_resp_limits(const struct shard *sh, const struct conn *c)
{
    return (struct resp_limits){.bulk_bytes_max = sh->cfg->proto_max_bulk_len,
                                .args_max = RESP_ARGS_MAX,
                                .unauthenticated = (c->gate & ACL_GATE_AUTH) != 0};
}

size_t shard_query_bytes_max(const struct shard *sh)
{
    return sh->cfg->client_query_buffer_limit;
}

void shard_set_input_bytes_max(struct shard *sh)
{
    const uint64_t conns = u64_max(sh->conns_count, 1);
    const uint64_t share = sh->cfg->maxmemory / INPUT_SHARE / sh->node->shards_count / conns;

    sh->input_bytes_max = sh->cfg->maxmemory == 0
                              ? INPUT_BYTES_MAX
                              : u64_max(INPUT_BYTES_MIN, u64_min(INPUT_BYTES_MAX, share));
}

size_t shard_output_bytes_max(const struct shard *sh)
{
    const uint64_t hard = sh->cfg->client_output_buffer_limit.class[CONFIG_LIMIT_NORMAL].hard_bytes;

    return hard == 0 ? UINT32_MAX : hard;
}

void shard_follow_limits(struct shard *sh)
{
    LIST_FOR_EACH(link, &sh->conns)
        conn_follow_limits(LIST_ITEM(link, struct conn, link));
}

uint64_t shard_bulk_bytes_max(const struct shard *sh)
{
    const uint64_t max = sh->cfg->proto_max_bulk_len;

    return sh->group == NULL ? max : u64_min(max, ROW_STRING_BYTES_MAX);
}

const char *shard_unixsocket(const struct shard *sh)
{
    return sh->cfg->unixsocket;
}

void shard_format_addr(const struct sockaddr_storage *addr, char *out, size_t out_len)
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (addr->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)addr;
        (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
        (void)snprintf(out, out_len, "%s:%u", text, ntohs(in->sin_port));
    } else if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)addr;
        (void)inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
        (void)snprintf(out, out_len, "[%s]:%u", text, ntohs(in->sin6_port));
    } else {
        (void)snprintf(out, out_len, "%s:0", text);
    }
}

void shard_conn_gone(struct shard *sh, struct conn *c)
{
    (void)c;
    sh->conns_count--;
    shard_set_input_bytes_max(sh);
    atomic_fetch_sub(&sh->conns_given, 1);
    atomic_fetch_sub(&sh->node->conns_count, 1);
}

uint64_t shard_go_begin(const struct shard *sh)
{
    return u64_max(sh->stats.last_ns, reactor_now_ns(sh->reactor));
}

bool shard_go_is_long(const struct shard *sh, uint64_t began_ns)
{
    return sh->stats.last_ns > began_ns + GO_NS_MAX;
}

void shard_retry_next_turn(struct shard *sh, struct conn *c)
{
    if (!list_linked(&c->retry_link))
        list_push_back(&sh->retry_conns, &c->retry_link);
    reactor_wake(sh->reactor);
}

static void on_retry_timer(struct reactor_timer *t)
{
    conn_resume(container_of(t, struct conn, retry));
}

void shard_retry_after(struct shard *sh, struct conn *c, uint32_t delay_ms)
{
    reactor_timer_start(sh->reactor, &c->retry, reactor_now_ms(sh->reactor) + delay_ms,
                        on_retry_timer);
}

bool shard_paused(const struct shard *sh)
{
    return sh->pause_until_ms > reactor_now_ms(sh->reactor);
}

void shard_pause(struct shard *sh, uint64_t until_ms, bool all)
{
    const bool more = shard_paused(sh);

    sh->pause_until_ms = more ? u64_max(sh->pause_until_ms, until_ms) : until_ms;
    sh->pause_all = all || (more && sh->pause_all);
}

static void resume_postponed(struct shard *sh, struct list *conns)
{
    LIST_FOR_EACH_SAFE(link, conns) {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (c->postponed) {
            c->postponed = false;
            reactor_timer_stop(sh->reactor, &c->retry);
            shard_retry_next_turn(sh, c);
        }
    }
}

void shard_unpause(struct shard *sh)
{
    sh->pause_until_ms = 0;
    resume_postponed(sh, &sh->conns);
    resume_postponed(sh, &sh->forward.agents);
    shard_expire_soon(sh);
}

uint64_t shard_postponed_count(const struct shard *sh)
{
    uint64_t count = 0;

    LIST_FOR_EACH(link, &sh->conns)
        count += LIST_ITEM(link, struct conn, link)->postponed;
    LIST_FOR_EACH(link, &sh->forward.agents)
        count += LIST_ITEM(link, struct conn, link)->postponed;
    return count;
}

static void on_wait_ready(struct ks_wait *wait)
{
    struct conn *c = container_of(wait, struct conn, wait);
    struct shard *sh = c->sh;

    conn_resume(c);
    shard_expire_read(sh);
}

/* --- connections from the listener --- */

struct accept_mail {
    struct mail mail;
    struct shard *sh;
    uint64_t id; /* Of the client, in the order of arrival. */
    int fd;
    bool local;
};

static void on_accepted(struct mail *mail)
{
    struct accept_mail *m = container_of(mail, struct accept_mail, mail);
    struct shard *sh = m->sh;
    struct conn *c = NULL;
    const uint64_t id = m->id;

    if (sh->stopping)
        (void)close(m->fd);
    else
        c = conn_open(sh, m->fd, m->local);
    mem_free(m);
    sh->conns_count++;
    shard_set_input_bytes_max(sh);
    if (c == NULL) {
        shard_conn_gone(sh, NULL);
        return;
    }
    c->id = id;
    c->wait.on_ready = on_wait_ready;
    sh->stats.connections++;
}

/* With several shards it tells which one it is of (tracking_shard_of). */
static uint64_t next_id(const struct shard *sh)
{
    struct node *node = sh->node;
    const uint64_t n = ++node->last_client_id;

    return node->shards_count == 1 ? n : n * node->shards_count + sh->id;
}

void shard_accept(struct shard *sh, int fd, bool local)
{
    struct accept_mail *m = mem_alloc(sizeof(*m));

    *m = (struct accept_mail){
        .mail = {.fn = on_accepted}, .sh = sh, .id = next_id(sh), .fd = fd, .local = local};
    atomic_fetch_add(&sh->node->conns_count, 1);
    atomic_fetch_add(&sh->conns_given, 1);
    if (sh->node->shards_count == 1)
        on_accepted(&m->mail);
    else
        mailbox_post(&sh->mailbox, &m->mail);
}
