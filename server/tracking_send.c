/* Invalidation messages; tracking_send.h tells. */
#include "server/tracking_send.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "server/conn.h"
#include "server/forward.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/shard.h"
#include "server/tracking.h"

/* Bytes of messages that are on their way to one shard. */
#define BACKLOG_BYTES_MAX (64u << 20)
/* In the head of what waits for the end of a command: another client redirects here. */
#define OWN_REDIRECTED 0x80000000u

/* --- to a client --- */

static void write_keys(struct reply *out, struct bytes keys)
{
    if (keys.len == 0)
        reply_null(out);
    else
        reply_raw(out, keys.ptr, keys.len);
}

static void write_message(struct conn *c, bool redirected, struct bytes keys)
{
    if (c->closing)
        return;
    pubsub_open(c);
    struct reply *out = pubsub_out(c);
    if (c->out.proto > 2) {
        reply_push(out, 2);
        reply_bulk_cstr(out, "invalidate");
    } else if (redirected && pubsub_listens(c)) {
        reply_array(out, 3);
        reply_bulk_cstr(out, "message");
        reply_bulk_cstr(out, "__redis__:invalidate");
    } else {
        return; /* RESP2 has no place for it. */
    }
    write_keys(out, keys);
    pubsub_wrote(c);
}

/* Not within the reply of a command that runs. */
static void to_conn(struct shard *sh, struct conn *c, bool redirected, struct bytes keys)
{
    struct buf *own = &sh->tracking->own;
    uint8_t head[4];

    if (c != sh->current) {
        write_message(c, redirected, keys);
        return;
    }
    le32_store(head, (uint32_t)keys.len | (redirected ? OWN_REDIRECTED : 0));
    if (buf_append(own, head, sizeof(head)) != 0 || buf_append_bytes(own, keys) != 0)
        c->out.failed = true; /* More than a connection may have to be sent. */
}

void tracking_tell_own(struct conn *c)
{
    struct buf *own = &c->sh->tracking->own;
    struct bytes in = buf_bytes(own);
    struct bytes keys;

    while (in.len >= 4) {
        const uint32_t head = le32_load(in.ptr);
        in = bytes_from(in, 4);
        if (!bytes_take(&in, head & ~OWN_REDIRECTED, &keys))
            break;
        write_message(c, (head & OWN_REDIRECTED) != 0, keys);
    }
    buf_deinit(own);
}

static void redirect_is_broken(struct tracking_client *tc)
{
    struct conn *c = tc->conn;

    tc->broken = true;
    if (c->out.proto <= 2 || c->closing)
        return;
    pubsub_open(c);
    struct reply *out = pubsub_out(c);
    reply_push(out, 2);
    reply_bulk_cstr(out, "tracking-redir-broken");
    reply_u64(out, tc->redirect);
    pubsub_wrote(c);
}

/* --- between shards --- */

struct note_mail {
    struct mail mail;
    struct shard *to;
    struct tracking_note note;
    uint8_t text[];
};

static void on_note(struct mail *mail);

static void post(struct shard *sh, struct shard *to, const struct tracking_note *note)
{
    _Atomic uint64_t *backlog = &to->tracking->backlog_bytes;

    /* There is mail under way, then; with it comes that some is missing. */
    if (note->text.len != 0 &&
        atomic_load_explicit(backlog, memory_order_relaxed) > BACKLOG_BYTES_MAX) {
        atomic_store(&to->tracking->lost, true);
        return;
    }
    struct note_mail *m = mem_alloc(sizeof(*m) + note->text.len);
    *m = (struct note_mail){.mail = {.fn = on_note}, .to = to, .note = *note};
    m->note.text = bytes_of(m->text, note->text.len);
    if (note->text.len != 0)
        memcpy(m->text, note->text.ptr, note->text.len);
    atomic_fetch_add(backlog, note->text.len);
    forward_post(sh, to->id, &m->mail);
}

static struct shard *shard_of(const struct shard *sh, uint64_t id)
{
    return sh->node->shards[tracking_shard_of(id, sh->node->shards_count)];
}

static void broken(struct shard *sh, uint64_t id)
{
    struct tracking_client *tc = tracking_client_find(sh->tracking, id);

    if (tc != NULL)
        redirect_is_broken(tc);
}

/* For `n->id`, which others redirect to; `n->other` does. */
static void redirected(struct shard *sh, const struct tracking_note *n)
{
    const struct tracking_client *tc = tracking_client_find(sh->tracking, n->id);
    struct shard *from = shard_of(sh, n->other);

    if (tc != NULL) {
        to_conn(sh, tc->conn, true, n->text);
    } else if (from == sh) {
        broken(sh, n->other);
    } else {
        const struct tracking_note note = {.kind = TRACKING_BROKEN, .id = n->other};
        post(sh, from, &note);
    }
}

void tracking_tell(struct shard *sh, struct tracking_client *tc, struct bytes keys)
{
    const struct tracking_note note = {
        .kind = TRACKING_REDIRECT, .id = tc->redirect, .other = tc->conn->id, .text = keys};
    struct shard *to = shard_of(sh, tc->redirect);

    if (tc->redirect == 0)
        to_conn(sh, tc->conn, false, keys);
    else if (to == sh)
        redirected(sh, &note);
    else
        post(sh, to, &note);
}

/* Of a client of another shard. */
static void asked(struct shard *sh, const struct tracking_note *n)
{
    const struct tracking_note note = {
        .kind = TRACKING_ANSWER, .id = n->other, .other = tracking_make_target(sh, n->id)};

    post(sh, shard_of(sh, n->other), &note);
}

static void answered(struct shard *sh, const struct tracking_note *n)
{
    struct tracking_client *tc = tracking_client_find(sh->tracking, n->id);

    if (tc == NULL || tc->asked == 0)
        return;
    tc->answered = true;
    tc->found = n->other != 0;
    conn_resume(tc->conn);
}

static void take(struct shard *sh, const struct tracking_note *n)
{
    switch (n->kind) {
    case TRACKING_KEY:
        tracking_on_key(sh, n->id, n->other, n->text);
        return;
    case TRACKING_CHANGED:
        tracking_on_changed(sh, n->text);
        return;
    case TRACKING_FLUSHED:
        tracking_on_flushed(sh);
        return;
    case TRACKING_REDIRECT:
        redirected(sh, n);
        return;
    case TRACKING_BROKEN:
        broken(sh, n->id);
        return;
    case TRACKING_ASK:
        asked(sh, n);
        return;
    case TRACKING_ANSWER:
        answered(sh, n);
        return;
    }
}

static void on_note(struct mail *mail)
{
    struct note_mail *m = container_of(mail, struct note_mail, mail);
    struct shard *sh = m->to;

    take(sh, &m->note);
    atomic_fetch_sub(&sh->tracking->backlog_bytes, m->note.text.len);
    mem_free(m);
    if (unlikely(atomic_load_explicit(&sh->tracking->lost, memory_order_relaxed)) &&
        atomic_exchange(&sh->tracking->lost, false))
        tracking_on_lost(sh);
}

void tracking_send(struct shard *sh, uint32_t to, const struct tracking_note *note)
{
    if (to == sh->id)
        take(sh, note);
    else
        post(sh, sh->node->shards[to], note);
}
