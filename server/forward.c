/* Commands on their way between shards; forward.h tells how. */
#include "server/forward.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "server/acl.h"
#include "server/acl_file.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/forward_batch.h"
#include "server/join.h"
#include "server/migrate.h"
#include "server/node.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/txn.h"
#include "server/unblock.h"

/* Kept for the next connection. */
#define IDLE_MAX 256
/* A batch never gets near: FORWARD_BYTES_MAX and the last command. Bytes. */
#define BATCH_BYTES_MAX ((size_t)UINT32_MAX * 2)
/* Commands looked at behind a parked one. */
#define LOOKAHEAD_COMMANDS 64

struct forward {
    struct mail mail;
    struct list_link link; /* Home: staging or idle. */
    struct shard *home_shard;
    struct conn *home;
    struct forward_batch staged; /* Home's, */
    bool away;                   /* as are these, whoever has the message. */
    bool pinned;
    bool release_due;       /* Home's: a release follows what is staged or under way. */
    _Atomic bool blocked;   /* The agent waits for a key: the owner's; home reads. */
    _Atomic bool abandoned; /* The client is gone: home's; the owner reads. */
    /* Of the thread that has the message. */
    struct forward_batch batch;
    struct conn agent;
    uint32_t done;     /* Commands that have run, */
    size_t pos;        /* and where the next one starts. */
    uint64_t hold_lsn; /* The replies wait for it. */
    bool release;      /* The agent is to forget its transaction. */
    bool failed;       /* A reply did not fit: the connection is to be closed. */
};

/* --- of a shard --- */

void forward_shard_init(struct forward_shard *f, uint32_t shards_count)
{
    list_init(&f->staging);
    list_init(&f->agents);
    list_init(&f->done);
    list_init(&f->held);
    list_init(&f->idle);
    f->outbox = mem_zalloc_array(shards_count, sizeof(*f->outbox));
}

static void forward_destroy(struct forward *f)
{
    CHECK(!f->away);
    forward_batch_deinit(&f->staged);
    forward_batch_deinit(&f->batch);
    reply_deinit(&f->agent.out);
    buf_deinit(&f->agent.walk.names);
    resp_cmd_deinit(&f->agent.cmd);
    mem_free(f->agent.name);
    acl_forget(&f->agent);
    acl_file_drop(&f->agent);
    txn_destroy(&f->agent);
    mem_free(f);
}

void forward_shard_deinit(struct forward_shard *f)
{
    struct list_link *link;

    if (f->outbox == NULL)
        return;
    while ((link = list_pop_front(&f->idle)) != NULL)
        forward_destroy(LIST_ITEM(link, struct forward, link));
    mem_free(f->outbox);
}

/* --- at the owner --- */

static struct forward *forward_of(struct conn *agent)
{
    return container_of(agent, struct forward, agent);
}

/* Each command is looked at once; `pos` is behind the parked one, the `done`th. */
static void look_ahead(struct forward *f, size_t pos)
{
    struct conn *agent = &f->agent;
    struct resp_cmd *cmd = &agent->sh->ahead_cmd;

    agent->ahead_bytes = size_max(agent->ahead_bytes, pos);
    agent->ahead_count = u32_max(agent->ahead_count, f->done);
    while (agent->ahead_count < f->done + LOOKAHEAD_COMMANDS &&
           agent->ahead_bytes < f->batch.bytes.len && ks_may_read_ahead(agent->sh->ks)) {
        forward_batch_get(&f->batch, agent->ahead_bytes, cmd);
        dispatch_prefetch(agent, cmd);
        agent->ahead_bytes += cmd->consumed;
        agent->ahead_count++;
    }
}

static void finish(struct forward *f)
{
    list_push_back(&f->agent.sh->forward.done, &f->agent.turn_link);
    reactor_wake(f->agent.sh->reactor);
}

/* The command has run. */
static void ran(struct forward *f)
{
    f->batch.items[f->done++].end = f->agent.out.out.len;
    f->pos += f->agent.cmd.consumed;
}

/* Runs the commands up to one that has to wait. */
static void run(struct forward *f)
{
    struct conn *agent = &f->agent;
    const uint64_t began_ns = shard_go_begin(agent->sh);

    while (f->done < f->batch.count) {
        if (unlikely(shard_go_is_long(agent->sh, began_ns))) {
            agent->parked = true;
            shard_retry_next_turn(agent->sh, agent);
            return;
        }
        forward_batch_get(&f->batch, f->pos, &agent->cmd);
        struct dispatch_plan plan;
        dispatch_plan(agent->sh, &agent->cmd, &plan);
        agent->tracks = f->batch.items[f->done].tracks;
        if (dispatch(agent, &agent->cmd, &plan) == DISPATCH_PARKED) {
            agent->parked = true;
            if (agent->wait.pending != 0)
                look_ahead(f, f->pos + agent->cmd.consumed);
            return;
        }
        if (agent->out.failed) {
            f->failed = true;
            break;
        }
        ran(f);
    }
    finish(f);
}

static void on_batch(struct mail *mail)
{
    struct forward *f = container_of(mail, struct forward, mail);

    list_push_back(&f->agent.sh->forward.agents, &f->agent.link);
    f->agent.ahead_bytes = 0;
    f->agent.ahead_count = 0;
    if (f->release)
        txn_destroy(&f->agent);
    if (f->agent.sh->stopping) {
        f->failed = true;
        finish(f);
        return;
    }
    run(f);
}

void forward_resume(struct conn *agent)
{
    if (!agent->parked)
        return;
    agent->parked = false;
    run(forward_of(agent));
}

bool forward_try_parked(struct conn *agent)
{
    struct forward *f = forward_of(agent);
    struct dispatch_plan plan;

    CHECK(agent->parked);
    forward_batch_get(&f->batch, f->pos, &agent->cmd);
    dispatch_plan(agent->sh, &agent->cmd, &plan);
    if (dispatch(agent, &agent->cmd, &plan) == DISPATCH_PARKED)
        return false;
    if (agent->out.failed) {
        agent->parked = false;
        f->failed = true;
        finish(f);
        return true;
    }
    ran(f);
    shard_retry_next_turn(agent->sh, agent);
    return true;
}

void forward_set_blocked(struct conn *agent, bool blocked)
{
    atomic_store_explicit(&forward_of(agent)->blocked, blocked, memory_order_relaxed);
}

bool forward_abandoned(struct conn *agent)
{
    return atomic_load(&forward_of(agent)->abandoned);
}

void forward_abandon(struct conn *agent)
{
    agent->parked = false;
    conn_stop_waiting(agent);
    dispatch_forget(agent);
    unblock_forget(agent);
    migrate_drop(agent);
    acl_file_drop(agent);
    if (list_linked(&agent->retry_link))
        list_remove(&agent->retry_link);
    forward_of(agent)->failed = true;
    finish(forward_of(agent));
}

void forward_stop(struct shard *sh)
{
    LIST_FOR_EACH(link, &sh->forward.agents) {
        struct conn *agent = LIST_ITEM(link, struct conn, link);
        if (agent->parked)
            forward_abandon(agent);
    }
}

/* --- replies, at home --- */

static void slot_free(struct forward_slot *slot)
{
    list_remove(&slot->link);
    buf_deinit(&slot->reply);
    join_destroy(slot->join);
    mem_free(slot);
}

/* All parts are there, and all replies before it. */
static void emit(struct conn *c, struct forward_slot *slot, struct bytes text)
{
    struct forward_home *h = c->fw;

    /* An EXEC with CLIENT REPLY OFF in its queue has no reply, either. */
    if (slot->join != NULL && !slot->silent)
        join_reply(slot->join, &c->out);
    else if (text.len != 0 && !slot->silent)
        reply_raw(&c->out, text.ptr, text.len);
    if (slot->after != 0)
        reply_raw(&c->out, h->later.ptr + h->later_sent, slot->after);
    h->later_sent += slot->after;
    h->ready = c->out.out.len;
    h->slots_count--;
    slot_free(slot);
    if (list_empty(&h->slots)) {
        h->exclusive = false;
        h->blocking = false;
        h->later_sent = 0;
        if (h->later.cap > FORWARD_KEEP_BYTES)
            buf_deinit(&h->later);
        else
            buf_clear(&h->later);
    }
}

static struct forward_slot *first_slot(const struct forward_home *h)
{
    return list_empty(&h->slots) ? NULL
                                 : LIST_ITEM(list_first(&h->slots), struct forward_slot, link);
}

static void take_reply(struct conn *c, const struct forward_item *item, struct bytes text)
{
    struct forward_slot *slot = item->slot;

    slot->missing--;
    if (slot->join != NULL)
        join_add(slot->join, item->part, text);
    if (slot->missing == 0 && slot == first_slot(c->fw)) {
        emit(c, slot, text);
        while ((slot = first_slot(c->fw)) != NULL && slot->missing == 0)
            emit(c, slot, buf_bytes(&slot->reply));
    } else if (slot->join == NULL && buf_append_bytes(&slot->reply, text) != 0) {
        c->out.failed = true;
    }
}

/* EXEC has run by the agent: what it did to the session holds for the connection. */
static void take_session(struct conn *c, struct conn *agent)
{
    /* What waits behind it is another user's, perhaps. */
    c->allowed = false;
    c->out.proto = agent->out.proto;
    c->reply_mode = agent->reply_mode;
    c->no_evict = agent->no_evict;
    acl_take(c, agent);
    mem_free(c->name);
    c->name = agent->name;
    agent->name = NULL;
}

static void take_replies(struct forward *f)
{
    struct conn *c = f->home;
    size_t from = 0;

    for (uint32_t i = 0; i < f->done; i++) {
        const struct forward_item *item = &f->batch.items[i];
        if (item->slot->session)
            take_session(c, &f->agent);
        take_reply(c, item, bytes_of(f->agent.out.out.ptr + from, item->end - from));
        from = item->end;
    }
    if (c->out.failed || f->failed) {
        conn_close(c);
        return;
    }
    acl_close_doomed(c);
    if (c->out.out.len != 0 || c->closing)
        conn_touch(c);
    if (c->fw->waiting && !forward_pending(c)) {
        c->fw->waiting = false;
        shard_retry_next_turn(c->sh, c);
    }
}

/* The message is home, its connection is closed. */
static void retire(struct forward *f);
static void release_now(struct forward *f);

static void on_return(struct mail *mail)
{
    struct forward *f = container_of(mail, struct forward, mail);
    struct conn *c = f->home;

    if (!c->closed)
        take_replies(f);
    f->away = false;
    c->fw->away--;
    if (unlikely(f->release)) {
        f->release = false;
        c->fw->releasing--;
    }
    forward_batch_clear(&f->batch);
    if (f->agent.out.out.cap > FORWARD_KEEP_BYTES)
        buf_deinit(&f->agent.out.out);
    else
        buf_clear(&f->agent.out.out);
    if (!c->closed && f->staged.count != 0)
        list_push_back(&c->sh->forward.staging, &f->link);
    else if (f->release_due)
        release_now(f);
    else if (c->closed || !f->pinned)
        retire(f);
}

/* --- sending --- */

/* The agent is in the session that the connection is in. */
static void set_session(struct conn *agent, const struct conn *c)
{
    agent->out.proto = c->out.proto;
    /* Of a connection before this one a reply may have been too long. */
    agent->out.out.limit = shard_output_bytes_max(c->sh);
    agent->out.failed = false;
    agent->no_evict = c->no_evict;
    acl_lend(agent, c);
    agent->reply_mode = CONN_REPLY_ON;
    if (agent->name == NULL && c->name == NULL)
        return;
    session_set_name(agent, c->name == NULL ? bytes_of(NULL, 0) : bytes_cstr(c->name));
}

static void post(struct forward *f)
{
    struct shard *owner = f->agent.sh;

    f->away = true;
    f->home->fw->away++;
    f->done = 0;
    f->pos = 0;
    f->failed = false;
    f->home_shard->forward.messages++;
    f->home_shard->forward.commands += f->batch.count;
    set_session(&f->agent, f->home);
    /* It is alone, and may change this, too; other replies are left out at home. */
    if (f->batch.count != 0 && f->batch.items[0].slot->session)
        f->agent.reply_mode = f->home->reply_mode;
    f->mail.fn = on_batch;
    mail_chain_add(&f->home_shard->forward.outbox[owner->id], &f->mail);
    f->home_shard->forward.posting = true;
}

static void post_outbox(struct shard *sh)
{
    if (!sh->forward.posting)
        return;
    sh->forward.posting = false;
    for (uint32_t i = 0; i < sh->node->shards_count; i++) {
        mailbox_post_chain(&sh->node->shards[i]->mailbox, sh->forward.outbox[i]);
        sh->forward.outbox[i] = (struct mail_chain){0};
    }
}

void forward_post(struct shard *from, uint32_t to, struct mail *mail)
{
    mail_chain_add(&from->forward.outbox[to], mail);
    from->forward.posting = true;
    reactor_wake(from->reactor);
}

void forward_send_staged(struct shard *sh)
{
    struct list_link *link;

    while ((link = list_pop_front(&sh->forward.staging)) != NULL) {
        struct forward *f = LIST_ITEM(link, struct forward, link);
        const struct forward_batch empty = f->batch;
        f->home->fw->staged -= f->staged.bytes.len;
        f->batch = f->staged;
        f->staged = empty;
        post(f);
    }
    post_outbox(sh);
}

void forward_give_up(struct shard *sh)
{
    struct forward_shard *fs = &sh->forward;
    struct list *const lists[] = {&fs->done, &fs->held};

    for (size_t i = 0; sh->routes && i < ARRAY_COUNT(lists); i++) {
        LIST_FOR_EACH(link, lists[i])
            forward_of(LIST_ITEM(link, struct conn, turn_link))->failed = true;
    }
}

void forward_turn_end(struct shard *sh, uint64_t hold_lsn, uint64_t safe_lsn)
{
    struct forward_shard *fs = &sh->forward;
    struct list_link *link;

    while ((link = list_pop_front(&fs->done)) != NULL) {
        forward_of(LIST_ITEM(link, struct conn, turn_link))->hold_lsn = hold_lsn;
        list_push_back(&fs->held, link);
    }
    while (!list_empty(&fs->held)) {
        struct forward *f = forward_of(LIST_ITEM(list_first(&fs->held), struct conn, turn_link));
        if (f->hold_lsn > safe_lsn)
            break;
        list_remove(&f->agent.turn_link);
        list_remove(&f->agent.link);
        f->mail.fn = on_return;
        mail_chain_add(&fs->outbox[f->home_shard->id], &f->mail);
        fs->posting = true;
    }
    post_outbox(sh);
}

/* --- at home --- */

struct forward_home *forward_of_conn(struct conn *c)
{
    if (c->fw == NULL) {
        const uint32_t n = c->sh->node->shards_count;
        c->fw = mem_zalloc(sizeof(*c->fw) + n * sizeof(struct forward *));
        list_init(&c->fw->slots);
        buf_init(&c->fw->later, shard_output_bytes_max(c->sh));
    }
    return c->fw;
}

bool forward_pending(const struct conn *c)
{
    return c->fw != NULL && !list_empty(&c->fw->slots);
}

bool forward_exclusive(const struct conn *c)
{
    return c->fw != NULL && c->fw->exclusive && forward_pending(c);
}

bool forward_busy(const struct conn *c, uint32_t owner)
{
    const struct forward *f = c->fw == NULL ? NULL : c->fw->to[owner];

    return f != NULL && (f->away || f->staged.count != 0);
}

bool forward_full(const struct conn *c)
{
    return c->fw != NULL &&
           (c->fw->slots_count >= FORWARD_COMMANDS_MAX || c->fw->staged >= FORWARD_BYTES_MAX);
}

void forward_wait(struct conn *c)
{
    c->fw->waiting = true;
}

static void on_agent_ready(struct ks_wait *wait)
{
    forward_resume(container_of(wait, struct conn, wait));
}

static struct forward *forward_create(struct shard *home)
{
    struct forward *f = mem_zalloc(sizeof(*f));
    struct conn *agent = &f->agent;

    f->home_shard = home;
    buf_init(&f->staged.bytes, BATCH_BYTES_MAX);
    buf_init(&f->batch.bytes, BATCH_BYTES_MAX);
    reply_init(&agent->out, shard_output_bytes_max(home), NULL);
    buf_init(&agent->walk.names, shard_output_bytes_max(home));
    resp_cmd_init(&agent->cmd);
    agent->is_agent = true;
    agent->wait.on_ready = on_agent_ready;
    return f;
}

static struct forward *to_owner(struct conn *c, uint32_t owner)
{
    struct forward_home *h = forward_of_conn(c);
    struct forward_shard *fs = &c->sh->forward;

    if (h->to[owner] != NULL)
        return h->to[owner];
    struct forward *f;
    if (list_empty(&fs->idle)) {
        f = forward_create(c->sh);
    } else {
        f = LIST_ITEM(list_pop_front(&fs->idle), struct forward, link);
        fs->idle_count--;
    }
    f->home = c;
    f->agent.sh = c->sh->node->shards[owner];
    f->agent.out.env = &f->agent.sh->reply_env;
    f->agent.id = c->id;
    f->agent.local = c->local;
    memcpy(f->agent.addr, c->addr, sizeof(f->agent.addr));
    memcpy(f->agent.laddr, c->laddr, sizeof(f->agent.laddr));
    h->to[owner] = f;
    return f;
}

struct forward_slot *forward_slot_add(struct conn *c, struct join *join)
{
    struct forward_home *h = forward_of_conn(c);
    struct forward_slot *slot = mem_zalloc(sizeof(*slot));

    if (list_empty(&h->slots))
        h->ready = c->out.out.len;
    else
        forward_keep(c);
    slot->join = join;
    slot->missing = join == NULL ? 1 : join_parts(join);
    buf_init(&slot->reply, shard_output_bytes_max(c->sh));
    slot->silent = (c->reply_mode & CONN_REPLY_SILENT) != 0;
    c->reply_mode &= (uint8_t)~CONN_REPLY_SKIP;
    list_push_back(&h->slots, &slot->link);
    h->slots_count++;
    return slot;
}

void forward_put(struct conn *c, struct forward_slot *slot, uint32_t part, uint32_t owner,
                 uint32_t argc, const struct bytes *argv)
{
    struct forward *f = to_owner(c, owner);
    const size_t before = f->staged.bytes.len;

    /* The arguments are in memory already, so their sum is far from the limit. */
    CHECK(forward_batch_put(&f->staged, slot, part, c->tracks, argc, argv) == 0);
    c->fw->staged += f->staged.bytes.len - before;
    if (!f->away && !list_linked(&f->link)) {
        list_push_back(&c->sh->forward.staging, &f->link);
        reactor_wake(c->sh->reactor);
    }
}

struct conn *forward_agent(struct conn *c, uint32_t owner)
{
    struct forward *f = to_owner(c, owner);

    CHECK(!f->away);
    return &f->agent;
}

void forward_pin(struct conn *c, uint32_t owner, bool pinned)
{
    to_owner(c, owner)->pinned = pinned;
}

void forward_set_blocking(struct conn *c)
{
    c->fw->exclusive = true;
    c->fw->blocking = true;
}

bool forward_waits(const struct conn *c)
{
    if (c->fw == NULL || !c->fw->blocking)
        return false;
    for (uint32_t i = 0; i < c->sh->node->shards_count; i++) {
        const struct forward *f = c->fw->to[i];
        if (f != NULL && f->away && atomic_load_explicit(&f->blocked, memory_order_relaxed))
            return true;
    }
    return false;
}

bool forward_may_wait(const struct conn *c)
{
    return c->fw != NULL && c->fw->blocking && (c->last_cmd->flags & CMD_BLOCKING) != 0 &&
           forward_pending(c);
}

bool forward_dirty(const struct conn *c)
{
    if (c->fw == NULL || c->txn == NULL || c->txn->shard == TXN_NO_SHARD)
        return false;
    /* Without a message under way the owner does nothing to the agent but touch what it watches. */
    const struct forward *f = c->fw->to[c->txn->shard];
    return f != NULL && f->pinned && !f->away && f->agent.txn != NULL && f->agent.txn->dirty;
}

static void release_now(struct forward *f)
{
    f->release_due = false;
    f->pinned = false;
    f->release = true;
    post(f);
    reactor_wake(f->home_shard->reactor);
}

void forward_release(struct conn *c, uint32_t owner)
{
    struct forward *f = c->fw == NULL ? NULL : c->fw->to[owner];

    if (f == NULL || !f->pinned || f->release_due)
        return;
    f->release_due = true;
    c->fw->releasing++;
    if (!f->away && f->staged.count == 0)
        release_now(f);
}

bool forward_releases(const struct conn *c)
{
    return c->fw != NULL && c->fw->releasing != 0;
}

void forward_keep(struct conn *c)
{
    struct forward_home *h = c->fw;
    struct list_link *last = list_last(&h->slots);
    const size_t len = c->out.out.len - h->ready;

    if (last == NULL || c->out.failed || len == 0)
        return;
    if (buf_append(&h->later, c->out.out.ptr + h->ready, len) != 0) {
        c->out.failed = true;
        return;
    }
    LIST_ITEM(last, struct forward_slot, link)->after += len;
    buf_truncate(&c->out.out, h->ready);
}

void forward_sent(struct conn *c, size_t len)
{
    c->fw->ready -= size_min(len, c->fw->ready);
}

/* --- the end of a connection --- */

/* To the owner of a message whose command may wait for a key for ever. */
struct abandon_mail {
    struct mail mail;
    struct shard *owner;
    uint64_t id;
};

static void on_abandoned(struct mail *mail)
{
    struct abandon_mail *m = container_of(mail, struct abandon_mail, mail);

    unblock_abandon(m->owner, m->id);
    migrate_abandon(m->owner, m->id);
    mem_free(m);
}

/*
 * The agent waits already, then the mail finds it; or it sees the mark when it is about to. The
 * mail goes the way of the message, so that it does not overtake it.
 */
static void abandon(struct forward *f)
{
    struct shard *owner = f->agent.sh;
    struct abandon_mail *m = mem_alloc(sizeof(*m));

    *m = (struct abandon_mail){.mail = {.fn = on_abandoned}, .owner = owner, .id = f->home->id};
    atomic_store(&f->abandoned, true);
    forward_post(f->home_shard, owner->id, &m->mail);
}

void forward_ended(struct conn *c)
{
    if (!c->fw->blocking || (c->last_cmd->flags & CMD_BLOCKING) == 0)
        return;
    for (uint32_t i = 0; i < c->sh->node->shards_count; i++) {
        if (forward_busy(c, i))
            abandon(c->fw->to[i]);
    }
}

/*
 * The agent holds a transaction: also one that the owner was to end by an EXEC or UNWATCH that was
 * not sent, or not run, since the connection or the node came to its end.
 */
static bool holds_txn(const struct forward *f)
{
    const struct txn *txn = f->agent.txn;

    return f->pinned || (txn != NULL && (txn->active || !list_empty(&txn->watches)));
}

static void retire(struct forward *f)
{
    struct conn *c = f->home;
    struct forward_shard *fs = &c->sh->forward;

    if (holds_txn(f)) {
        c->fw->releasing += !f->release_due;
        release_now(f);
        return;
    }
    f->abandoned = false;
    c->fw->to[f->agent.sh->id] = NULL;
    if (fs->idle_count == IDLE_MAX) {
        forward_destroy(f);
    } else {
        list_push_back(&fs->idle, &f->link);
        fs->idle_count++;
    }
    if (c->fw->orphaned && c->fw->away == 0)
        conn_free(c);
}

void forward_close(struct conn *c)
{
    struct forward_home *h = c->fw;
    struct forward_slot *slot;

    while ((slot = first_slot(h)) != NULL)
        slot_free(slot);
    h->slots_count = 0;
    for (uint32_t i = 0; i < c->sh->node->shards_count; i++) {
        struct forward *f = h->to[i];
        if (f == NULL)
            continue;
        if (list_linked(&f->link))
            list_remove(&f->link);
        forward_batch_clear(&f->staged);
        if (!f->away)
            retire(f);
        else if (h->blocking)
            abandon(f);
    }
}

bool forward_orphan(struct conn *c)
{
    c->fw->orphaned = true;
    return c->fw->away != 0;
}

void forward_free(struct conn *c)
{
    buf_deinit(&c->fw->later);
    mem_free(c->fw);
    c->fw = NULL;
}

size_t forward_memory_bytes(const struct conn *c)
{
    return c->fw == NULL ? 0 : sizeof(*c->fw) + c->fw->later.cap + c->fw->staged;
}
