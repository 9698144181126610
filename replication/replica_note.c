/* What the store says of itself; replica.h has the bytes. And the start of a shard of a group. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"

#include "engine/space/flush.h"
#include "engine/space/recover.h"
#include "engine/store/store.h"

#include "replication/apply.h"
#include "replication/oplog.h"
#include "replication/replay.h"
#include "replication/replica_impl.h"

#define NOTE_VERSION    2u
#define NOTE_F_COPYING  1u
#define NOTE_HEAD_BYTES 6u

_Static_assert(REPLICA_NOTE_BYTES_MAX - 2 * VV_BYTES_MAX <= KS_NOTE_BYTES_MAX,
               "the keyspace keeps it");

static size_t note_store(const struct replica_note *note, uint8_t *dst)
{
    dst[0] = NOTE_VERSION;
    dst[1] = note->copying ? NOTE_F_COPYING : 0;
    le32_store(dst + 2, note->flush);
    const size_t len = NOTE_HEAD_BYTES + posv_encode(&note->newest, dst + NOTE_HEAD_BYTES);
    return len + acked_encode(&note->acked, dst + len);
}

size_t replica_note_store(const struct replica *r, uint8_t *dst)
{
    struct replica_note note = {.flush = r->flush, .copying = r->take.copying};

    posv_copy(&note.newest, &r->newest);
    core_acked(r->core, &note.acked);
    return note_store(&note, dst);
}

size_t replica_covered_store(const struct replica *r, const struct vv *vv, const struct vv *seqs,
                             uint8_t *dst)
{
    size_t len = vv_encode(vv, dst);

    len += vv_encode(seqs, dst + len);
    return len + replica_note_store(r, dst + len);
}

void replica_note_changed(struct replica *r)
{
    uint8_t note[KS_NOTE_BYTES_MAX];

    ks_flush_note(r->options.ks, bytes_of(note, replica_note_store(r, note)));
}

/* Both vectors have the same origins: what was applied of each. */
static int join_vectors(const struct vv *vv, const struct vv *seqs, struct posv *out)
{
    posv_init(out);
    if (vv->count != seqs->count)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < vv->count; i++) {
        const struct pos pos = {.seq = seqs->hlc[i], .hlc = vv->hlc[i]};

        if (vv->origin[i] != seqs->origin[i] || posv_raise(out, vv->origin[i], pos) != 0)
            return -ERR_CORRUPT;
    }
    return 0;
}

int replica_note_parse(struct bytes covered, struct replica_note *out)
{
    struct vv vv, seqs;
    struct bytes head;

    *out = (struct replica_note){0};
    if (covered.len == 0)
        return 0; /* Nothing was ever written. */
    int err = vv_decode(&covered, &vv);
    if (err == 0)
        err = vv_decode(&covered, &seqs);
    if (err == 0)
        err = join_vectors(&vv, &seqs, &out->covered);
    if (err != 0)
        return -ERR_CORRUPT;
    if (!bytes_take(&covered, NOTE_HEAD_BYTES, &head) || head.ptr[0] != NOTE_VERSION ||
        (head.ptr[1] & ~NOTE_F_COPYING) != 0)
        return -ERR_CORRUPT;
    out->copying = head.ptr[1] != 0;
    out->flush = le32_load(head.ptr + 2);
    if (posv_decode(&covered, &out->newest) != 0 || acked_decode(&covered, &out->acked) != 0)
        return -ERR_CORRUPT;
    return covered.len == 0 ? 0 : -ERR_CORRUPT;
}

int replica_look(struct store *store, struct replica_note *out)
{
    struct buf covered;
    uint64_t lsn = 0;

    *out = (struct replica_note){0};
    buf_init(&covered, UINT32_MAX);
    int err = store_covered(store, true, &lsn, &covered);
    if (err == 0)
        err = replica_note_parse(buf_bytes(&covered), out);
    out->covered_lsn = lsn;
    buf_deinit(&covered);
    return err;
}

size_t replica_empty_note(const struct replica_note *note, uint8_t *dst)
{
    const struct replica_note empty = {.acked = note->acked, .flush = note->flush};
    struct vv none;

    vv_init(&none);
    size_t len = vv_encode(&none, dst);
    len += vv_encode(&none, dst + len);
    return len + note_store(&empty, dst + len);
}

/* --- start --- */

/* The vectors of the covered position, and what recovery writes to the store has the note. */
static int begin(const struct replica_recovery *rec, struct replay *r, struct replica_note *note)
{
    uint8_t kept[KS_NOTE_BYTES_MAX];
    struct buf covered;
    uint64_t lsn;

    buf_init(&covered, UINT32_MAX);
    int err = store_covered(rec->store, true, &lsn, &covered);
    if (err == 0)
        err = replica_note_parse(buf_bytes(&covered), note);
    if (err == 0)
        err = replay_covered(r, buf_bytes(&covered));
    buf_deinit(&covered);
    if (err != 0)
        return err;
    note->covered_lsn = r->lsn = lsn;
    r->flush = note->flush;
    /* The first batches cover nothing more, and carry the note all the same. */
    ks_flush_begin(rec->ks, lsn, &r->vv);
    ks_flush_note(rec->ks, bytes_of(kept, note_store(note, kept)));
    return 0;
}

static int say(char *why, size_t why_len, const char *what, int err)
{
    (void)snprintf(why, why_len, "%s: %s", what, err_str(err));
    return err;
}

int replica_recover(const struct replica_recovery *rec, struct replica_state *out, char *why,
                    size_t why_len)
{
    struct replay r = {.ks = rec->ks,
                       .origin = rec->origin,
                       .group = true,
                       .bytes_max = UINT64_MAX,
                       .room_bytes_min = rec->room_bytes_min};

    *out = (struct replica_state){0};
    int err = begin(rec, &r, &out->note);
    if (err != 0)
        return say(why, why_len, "the covered position of the store is damaged", err);
    if (out->note.copying)
        return say(why, why_len, "the store has an unfinished copy", -ERR_BUSY);
    err = ks_recover_table(rec->ks, why, why_len);
    if (rec->room_bytes != UINT64_MAX)
        r.bytes_max = ks_recover_held(rec->ks) + rec->room_bytes;
    if (err == 0)
        err = oplog_recover(rec->log, r.lsn, replay_record, &r, why, why_len);
    if (err != 0)
        return err;
    err = ks_recover_done(rec->ks, r.lsn, &r.vv);
    if (err != 0)
        return say(why, why_len, "cannot write what was replayed to the store", err);
    if (rec->origin == 0 && !vv_empty(&r.vv))
        return say(why, why_len, "there are records, but no membership", -ERR_LOST);
    vv_copy(&out->vv, &r.vv);
    vv_copy(&out->seqs, &r.seqs);
    err = join_vectors(&r.vv, &r.seqs, &out->applied);
    if (err != 0)
        return say(why, why_len, "the vectors of the log do not agree", err);
    out->lsn = r.lsn;
    out->seq = r.seq;
    out->keys = ks_count(rec->ks);
    out->records = r.records;
    out->ops = r.ops;
    out->bytes = r.bytes;
    return 0;
}

/* The number of an origin of which `posv` has batches, and which no member ever had; 0: none. */
static uint8_t find_stranger(const struct posv *posv, const struct members *members)
{
    for (unsigned i = 0; i < posv->count; i++) {
        if (members_find(members, posv->origin[i]) == NULL)
            return posv->origin[i];
    }
    return 0;
}

int replica_check_origins(const struct replica_state *state, const struct members *members,
                          char *why, size_t why_len)
{
    uint8_t stranger = find_stranger(&state->applied, members);

    if (stranger == 0)
        stranger = find_stranger(&state->note.newest, members);
    if (stranger == 0)
        return 0;
    (void)snprintf(
        why, why_len,
        "the rows and the log of this shard have writes of member number %u, which the "
        "group never had: the directory is damaged, or put together from several. Delete "
        "it and start again: this node then joins anew with a copy of a peer's data",
        stranger);
    return -ERR_CORRUPT;
}
