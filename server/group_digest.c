/* Digests of a group: shard 0's part; group_digest.h tells the whole way. */
#include "server/group_digest.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/keysums.h"

#include "replication/group/control.h"
#include "replication/replica.h"

#include "server/group_shard.h"
#include "server/group_talk.h"
#include "server/node.h"
#include "server/shard.h"

#define ROUNDS_MAX     8u
#define ROUND_PAUSE_MS 250u
#define ASK_AGAIN_MS   1000u
#define ANSWER_MS      10000u
/* Keys that expire before are left out; each time that it proves too short, four times as long. */
#define AT_AHEAD_MS     60000u
#define AT_AHEAD_MS_MAX (1u << 24)
/* Buckets whose keys are asked for. */
#define KEY_BUCKETS_MAX 4u
/* Who asks: peers by their origin, this node's run as 0. */
#define OWN_RUN 0u

/* What somebody wants to know of this node. */
struct question {
    bool wanted;
    uint64_t number;
    struct digest_ask ask;
};

enum phase {
    PHASE_IDLE,
    PHASE_SUMS,  /* Answers of a round come in. */
    PHASE_PAUSE, /* Until the next round. */
    PHASE_KEYS   /* Answers about the keys of a bucket come in. */
};

struct group_digest {
    struct group *g;
    uint64_t now_ms;
    struct buf message;

    /* The sums of this node. */
    struct question questions[GROUP_ORIGINS];
    bool working;
    uint8_t asker;         /* Whose question it is; */
    uint32_t shard_number; /* what shards know it by. */
    uint32_t shards_left;
    struct digest_side *side; /* Being put together. */

    /* The run. */
    uint64_t ticket;
    enum phase phase;
    uint64_t number; /* Of the question under way. */
    uint64_t asked_ms;
    uint64_t next_ms; /* To ask again, or of the next round. */
    uint64_t ahead_ms;
    uint32_t key_bucket; /* Index in run.buckets. */
    struct digest_ask ask;
    uint64_t heard_ms[GROUP_ORIGINS];
    struct digest_side *now[GROUP_ORIGINS];    /* By origin; NULL: no answer yet. */
    struct digest_side *before[GROUP_ORIGINS]; /* Of the last round. */
    struct buf names;                          /* Of the keys in the run. */
    enum digest_result result;                 /* As far as is known. */
    struct digest_run run;
};

static uint32_t bit_of(uint8_t origin)
{
    return 1u << (origin - 1);
}

static void drop(struct digest_side **side)
{
    digest_side_destroy(*side);
    *side = NULL;
}

/* --- the sums of this node --- */

struct sums_order {
    struct mail mail;
    struct shard *sh;
    uint32_t number;
    struct replica_sums_ask ask;
};

static void on_order(struct mail *mail)
{
    struct sums_order *o = container_of(mail, struct sums_order, mail);

    group_shard_sums(o->sh->group, o->number, &o->ask);
    mem_free(o);
}

static void begin_sums(struct group_digest *d, uint8_t asker)
{
    const struct digest_ask *ask = &d->questions[asker].ask;
    const struct node *node = d->g->node;

    d->working = true;
    d->asker = asker;
    d->shards_left = node->shards_count;
    d->shard_number++;
    d->side = digest_side_create();
    d->side->shards_count = (uint16_t)node->shards_count;
    d->side->first = ask->first;
    d->side->end = ask->end;
    for (uint32_t i = 0; i < node->shards_count; i++) {
        struct sums_order *o = mem_alloc(sizeof(*o));

        *o = (struct sums_order){.mail = {.fn = on_order},
                                 .sh = node->shards[i],
                                 .number = d->shard_number,
                                 .ask = {.at_ms = ask->at_ms,
                                         .first = ask->first,
                                         .end = ask->end,
                                         .keys_bytes_max = ask->names_bytes_max}};
        mailbox_post(&node->shards[i]->mailbox, &o->mail);
    }
}

/* What one shard says; its arrays are owned by the mail. */
struct sums_said {
    struct mail mail;
    struct group *group;
    uint32_t shard;
    uint32_t number;
    struct replica_sums sums;
    uint64_t buckets[ROW_SUM_BUCKETS];
    struct buf names;
};

static uint8_t status_of(int err)
{
    switch (err) {
    case 0:
        return DIGEST_OK;
    case -ERR_BUSY:
        return DIGEST_BUSY;
    case -ERR_RANGE:
        return DIGEST_LATE;
    default:
        return DIGEST_FAILED;
    }
}

/* `first`: no other shard has said anything yet. */
static void add_shard(struct digest_side *side, const struct sums_said *m, bool first)
{
    if (m->sums.err != 0) {
        side->status = status_of(m->sums.err);
        return;
    }
    /* A flush reaches the shards one after the other. */
    if (!first && side->flush != m->sums.flush)
        side->status = DIGEST_BUSY;
    side->flush = m->sums.flush;
    posv_copy(&side->lower[m->shard], &m->sums.lower);
    posv_copy(&side->upper[m->shard], &m->sums.upper);
    side->keys += m->sums.keys;
    side->damaged += m->sums.damaged;
    side->names_cut = side->names_cut || m->sums.keys_cut;
    for (unsigned i = 0; i < ROW_SUM_BUCKETS; i++)
        side->sums[i] += m->buckets[i];
    if (buf_append_bytes(&side->names, buf_bytes(&m->names)) != 0)
        side->names_cut = true;
}

static void send_to(struct group_digest *d, uint8_t origin, int err)
{
    const struct membership *m = control_members(d->g->control);

    if (err == 0 && m != NULL && origin <= m->count)
        group_talk_send(d->g->talk, m->at[origin - 1].address, buf_bytes(&d->message));
}

static struct digest_head head_of(const struct group_digest *d, uint64_t number)
{
    const struct membership *m = control_members(d->g->control);
    struct digest_head head = {.origin = group_origin(d->g), .number = number};

    if (m != NULL)
        memcpy(head.group_id, m->group_id, sizeof(head.group_id));
    return head;
}

static void answer(struct group_digest *d, uint8_t origin, uint64_t number,
                   const struct digest_side *side)
{
    const struct digest_head head = head_of(d, number);

    int err = digest_put_answer(&head, side, &d->message);
    if (err == -ERR_LIMIT) {
        /* So many shards and members that their positions fill the message. */
        struct digest_side *failed = digest_side_create();
        failed->status = DIGEST_FAILED;
        err = digest_put_answer(&head, failed, &d->message);
        digest_side_destroy(failed);
    }
    send_to(d, origin, err);
}

static void take_answer(struct group_digest *d, uint8_t origin, struct digest_side *take_side);

static void end_sums(struct group_digest *d)
{
    struct digest_side *side = d->side;
    const struct question q = d->questions[d->asker];

    d->side = NULL;
    d->working = false;
    d->questions[d->asker].wanted = false;
    if (d->asker != OWN_RUN) {
        answer(d, d->asker, q.number, side);
        digest_side_destroy(side);
    } else if (d->phase == PHASE_IDLE || q.number != d->number) {
        digest_side_destroy(side);
    } else {
        take_answer(d, group_origin(d->g), side);
    }
}

static void on_said(struct mail *mail)
{
    struct sums_said *m = container_of(mail, struct sums_said, mail);
    struct group_digest *d = m->group->digest;

    if (m->group->running && d->working && m->number == d->shard_number) {
        add_shard(d->side, m, d->shards_left == m->group->node->shards_count);
        if (--d->shards_left == 0)
            end_sums(d);
    }
    buf_deinit(&m->names);
    mem_free(m);
}

void group_digest_said(struct shard *sh, uint32_t number, const struct replica_sums *sums)
{
    struct sums_said *m = mem_zalloc(sizeof(*m));

    m->mail.fn = on_said;
    m->group = sh->node->group;
    m->shard = sh->id;
    m->number = number;
    m->sums = *sums;
    buf_init(&m->names, DIGEST_NAMES_BYTES_MAX);
    if (sums->sums != NULL) {
        memcpy(m->buckets, sums->sums, sizeof(m->buckets));
        CHECK(buf_append_bytes(&m->names, sums->names) == 0);
    }
    mailbox_post(&sh->node->shards[0]->mailbox, &m->mail);
}

/* --- what peers ask --- */

static void on_ask(struct group_digest *d, const struct digest_head *head,
                   const struct digest_ask *ask)
{
    struct question *q = &d->questions[head->origin];

    if (q->wanted && q->number == head->number) {
        struct digest_side *working = digest_side_create();
        working->status = DIGEST_WORKING;
        answer(d, head->origin, head->number, working);
        digest_side_destroy(working);
        return;
    }
    if (d->working && d->asker == head->origin) {
        /* Nobody waits for what is under way. */
        d->working = false;
        drop(&d->side);
    }
    *q = (struct question){.wanted = true, .number = head->number, .ask = *ask};
}

void group_digest_receive(struct group_digest *d, struct bytes message)
{
    const struct membership *m = control_members(d->g->control);
    struct digest_head head;
    struct digest_ask ask;
    struct bytes body;

    if (m == NULL || digest_open(message, &head, &body) != 0 || head.origin > m->count ||
        memcmp(head.group_id, m->group_id, sizeof(head.group_id)) != 0 ||
        head.origin == group_origin(d->g))
        return;
    if (head.kind == DIGEST_ASK && digest_get_ask(body, &ask) == 0) {
        on_ask(d, &head, &ask);
        return;
    }
    if (head.kind != DIGEST_ANSWER || d->phase == PHASE_IDLE || head.number != d->number)
        return;
    struct digest_side *side = digest_side_create();
    d->heard_ms[head.origin] = d->now_ms;
    if (digest_get_answer(body, side) == 0 && side->status != DIGEST_WORKING)
        take_answer(d, head.origin, side);
    else
        digest_side_destroy(side);
}

/* --- asking --- */

static void ask_all(struct group_digest *d)
{
    const struct digest_head head = head_of(d, d->number);
    const int err = digest_put_ask(&head, &d->ask, &d->message);

    d->next_ms = d->now_ms + ASK_AGAIN_MS;
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if ((d->run.asked & bit_of(origin)) == 0 || d->now[origin] != NULL)
            continue;
        if (origin != d->run.own)
            send_to(d, origin, err);
    }
}

static void new_question(struct group_digest *d, const struct digest_ask *ask)
{
    d->number++;
    d->ask = *ask;
    d->asked_ms = d->now_ms;
    d->run.answered = 0;
    for (unsigned i = 0; i < GROUP_ORIGINS; i++) {
        drop(&d->now[i]);
        d->heard_ms[i] = d->now_ms;
    }
    d->questions[OWN_RUN] = (struct question){.wanted = true, .number = d->number, .ask = *ask};
    ask_all(d);
}

static void begin_round(struct group_digest *d)
{
    const struct shard *sh = d->g->node->shards[0];
    const struct digest_ask ask = {.at_ms = shard_now_ms(sh) + d->ahead_ms, .end = ROW_SUM_BUCKETS};

    for (unsigned i = 0; i < GROUP_ORIGINS; i++) {
        drop(&d->before[i]);
        d->before[i] = d->now[i];
        d->now[i] = NULL;
    }
    d->run.at_ms = ask.at_ms;
    d->run.rounds++;
    d->phase = PHASE_SUMS;
    new_question(d, &ask);
}

uint64_t group_digest_start(struct group_digest *d)
{
    const struct membership *m = control_members(d->g->control);

    if (d->phase != PHASE_IDLE || m == NULL)
        return 0;
    d->run = (struct digest_run){.own = group_origin(d->g)};
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if (m->at[origin - 1].state == MEMBERSHIP_ACTIVE)
            d->run.asked |= bit_of(origin);
        drop(&d->now[origin]);
    }
    d->ahead_ms = AT_AHEAD_MS;
    d->ticket++;
    begin_round(d);
    return d->ticket;
}

/* --- judging --- */

static bool is_ok(const struct digest_side *side)
{
    return side != NULL && side->status == DIGEST_OK;
}

static void note_bucket(struct digest_run *run, uint16_t bucket, uint32_t members)
{
    run->differing++;
    if (run->buckets_count < DIGEST_BUCKETS_TOLD_MAX)
        run->buckets[run->buckets_count++] =
            (struct digest_difference){.bucket = bucket, .members = members};
}

/* One bucket, this node's against that of all who answered. */
static void judge_bucket(struct group_digest *d, uint16_t bucket)
{
    const uint8_t own = d->run.own;
    uint32_t members = 0;
    bool moving = false;

    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if (origin == own || !is_ok(d->now[origin]))
            continue;
        const bool before = is_ok(d->before[own]) && is_ok(d->before[origin]);
        const enum digest_verdict verdict =
            digest_judge(bucket, d->now[own], d->now[origin], before ? d->before[own] : NULL,
                         before ? d->before[origin] : NULL);
        if (verdict == DIGEST_DIFFERS)
            members |= bit_of(origin);
        moving = moving || verdict == DIGEST_MOVING;
    }
    if (members != 0)
        note_bucket(&d->run, bucket, members);
    else if (moving)
        d->run.moving++;
}

static void note_own(struct digest_run *run, const struct digest_side *own)
{
    run->own_keys = own->keys;
    run->own_damaged = own->damaged;
    memset(run->position, 0, sizeof(run->position));
    for (unsigned i = 0; i < own->shards_count; i++) {
        for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++)
            run->position[origin] += posv_get(&own->upper[i], origin).seq;
    }
}

/* True: what is known now will not change by asking again. */
static bool judge(struct group_digest *d)
{
    struct digest_run *run = &d->run;
    const struct digest_side *own = d->now[run->own];
    bool apart = false;

    run->moving = run->differing = run->buckets_count = 0;
    memset(run->status, 0, sizeof(run->status));
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if ((run->asked & bit_of(origin)) == 0)
            continue;
        if (!is_ok(d->now[origin]))
            run->status[origin] = d->now[origin] == NULL ? DIGEST_WORKING : d->now[origin]->status;
        else if (is_ok(own))
            apart = apart || !digest_overlap(own, d->now[origin]);
    }
    if (!is_ok(own)) {
        d->result = DIGEST_INCOMPLETE;
        return false;
    }
    note_own(run, own);
    for (uint16_t bucket = 0; bucket < ROW_SUM_BUCKETS; bucket++)
        judge_bucket(d, bucket);
    bool failed = false;
    for (unsigned i = 0; i < GROUP_ORIGINS; i++)
        failed = failed || run->status[i] != DIGEST_OK;
    if (run->differing != 0)
        d->result = DIGEST_DIFFER;
    else if (run->moving != 0 || apart)
        d->result = DIGEST_UNSETTLED;
    else
        d->result = failed ? DIGEST_INCOMPLETE : DIGEST_AGREE;
    return run->moving == 0 && !apart && !failed;
}

/* --- the keys of buckets that differ --- */

static void begin_keys(struct group_digest *d)
{
    const uint16_t bucket = d->run.buckets[d->key_bucket].bucket;
    const struct digest_ask ask = {.at_ms = shard_now_ms(d->g->node->shards[0]) + d->ahead_ms,
                                   .first = bucket,
                                   .end = (uint16_t)(bucket + 1),
                                   .names_bytes_max = DIGEST_NAMES_BYTES_MAX};

    d->phase = PHASE_KEYS;
    new_question(d, &ask);
}

/* The sum of a key at a member; 0: it does not show it. */
static uint64_t sum_at(const struct digest_side *side, struct bytes name)
{
    struct bytes names = buf_bytes(&side->names), at;
    uint64_t sum;

    while (digest_next_name(&names, &at, &sum)) {
        if (bytes_eq(at, name))
            return sum;
    }
    return 0;
}

static void note_key(struct group_digest *d, struct bytes name, uint32_t members)
{
    struct digest_run *run = &d->run;

    if (run->keys_count == DIGEST_KEYS_TOLD_MAX || buf_append_bytes(&d->names, name) != 0) {
        run->keys_cut = true;
        return;
    }
    /* The buffer may move: names are put in place at the end. */
    run->keys[run->keys_count++] =
        (struct digest_difference){.bucket = run->buckets[d->key_bucket].bucket,
                                   .members = members,
                                   .name = bytes_of(NULL, name.len)};
}

/* Keys of one member's list that an earlier list does not have, against all others. */
static void judge_names(struct group_digest *d, uint8_t from)
{
    const struct digest_side *own = d->now[d->run.own];
    struct bytes names = buf_bytes(&d->now[from]->names), name;
    uint64_t sum;

    while (digest_next_name(&names, &name, &sum)) {
        uint32_t members = 0;
        bool told = from != d->run.own && sum_at(own, name) != 0;

        for (uint8_t origin = 1; origin < from && !told; origin++)
            told = origin != d->run.own && from != d->run.own && is_ok(d->now[origin]) &&
                   sum_at(d->now[origin], name) != 0;
        for (uint8_t origin = 1; origin < GROUP_ORIGINS && !told; origin++) {
            if (origin != d->run.own && is_ok(d->now[origin]) &&
                sum_at(d->now[origin], name) != sum_at(own, name))
                members |= bit_of(origin);
        }
        if (members != 0)
            note_key(d, name, members);
    }
}

static void judge_keys(struct group_digest *d)
{
    if (!is_ok(d->now[d->run.own]))
        return;
    judge_names(d, d->run.own);
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if (is_ok(d->now[origin])) {
            d->run.keys_cut = d->run.keys_cut || d->now[origin]->names_cut;
            if (origin != d->run.own)
                judge_names(d, origin);
        }
    }
}

/* --- the run --- */

static void end_run(struct group_digest *d)
{
    struct bytes names = buf_bytes(&d->names);

    for (uint32_t i = 0; i < d->run.keys_count; i++)
        CHECK(bytes_take(&names, d->run.keys[i].name.len, &d->run.keys[i].name));
    d->phase = PHASE_IDLE;
    d->run.result = (uint8_t)d->result;
    for (unsigned i = 0; i < GROUP_ORIGINS; i++) {
        drop(&d->now[i]);
        drop(&d->before[i]);
    }
}

static void end_round(struct group_digest *d)
{
    bool late = false;

    for (unsigned i = 0; i < GROUP_ORIGINS; i++)
        late = late || (d->now[i] != NULL && d->now[i]->status == DIGEST_LATE);
    if (late && d->ahead_ms < AT_AHEAD_MS_MAX)
        d->ahead_ms *= 4;
    const bool certain = judge(d);
    if (!certain && d->run.rounds < ROUNDS_MAX) {
        d->phase = PHASE_PAUSE;
        d->next_ms = d->now_ms + ROUND_PAUSE_MS;
        return;
    }
    d->key_bucket = 0;
    buf_clear(&d->names);
    if (d->run.differing != 0)
        begin_keys(d);
    else
        end_run(d);
}

static void end_question(struct group_digest *d)
{
    if (d->phase == PHASE_SUMS) {
        end_round(d);
        return;
    }
    judge_keys(d);
    d->key_bucket++;
    if (d->key_bucket < u64_min(d->run.buckets_count, KEY_BUCKETS_MAX)) {
        begin_keys(d);
        return;
    }
    d->run.keys_cut = d->run.keys_cut || d->key_bucket < d->run.differing;
    end_run(d);
}

static void take_answer(struct group_digest *d, uint8_t origin, struct digest_side *take_side)
{
    const bool expected = (d->phase == PHASE_SUMS || d->phase == PHASE_KEYS) &&
                          (d->run.asked & bit_of(origin)) != 0 && d->now[origin] == NULL;

    if (!expected) {
        digest_side_destroy(take_side);
        return;
    }
    d->now[origin] = take_side;
    d->run.answered |= bit_of(origin);
    if (d->run.answered == d->run.asked)
        end_question(d);
}

/* Nothing was heard for so long of those who have not answered. */
static bool all_silent(const struct group_digest *d)
{
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if ((d->run.asked & bit_of(origin)) == 0 || d->now[origin] != NULL)
            continue;
        if (origin == d->run.own || d->now_ms - d->heard_ms[origin] < ANSWER_MS)
            return false;
    }
    return true;
}

void group_digest_tick(struct group_digest *d, uint64_t now_ms)
{
    d->now_ms = now_ms;
    for (uint8_t asker = 0; asker < GROUP_ORIGINS && !d->working; asker++) {
        if (d->questions[asker].wanted)
            begin_sums(d, asker);
    }
    switch (d->phase) {
    case PHASE_IDLE:
        return;
    case PHASE_PAUSE:
        if (now_ms >= d->next_ms)
            begin_round(d);
        return;
    case PHASE_SUMS:
    case PHASE_KEYS:
        if (all_silent(d)) {
            /* Once is enough: the rounds to come go on without them. */
            d->run.rounds = ROUNDS_MAX;
            end_question(d);
        } else if (now_ms >= d->next_ms) {
            ask_all(d);
        }
        return;
    }
}

const struct digest_run *group_digest_look(const struct group_digest *d, uint64_t ticket)
{
    return ticket == d->ticket ? &d->run : NULL;
}

/* --- life --- */

struct group_digest *group_digest_create(struct group *g)
{
    struct group_digest *d = mem_zalloc(sizeof(*d));

    d->g = g;
    /* Answers to who had this name before it was started anew are none to us. */
    d->number = clock_wall_us();
    buf_init(&d->message, CONTROL_MSG_BYTES_MAX * 2);
    buf_init(&d->names, DIGEST_KEYS_TOLD_MAX * KS_NAME_BYTES_MAX);
    return d;
}

void group_digest_destroy(struct group_digest *d)
{
    if (d == NULL)
        return;
    digest_side_destroy(d->side);
    for (unsigned i = 0; i < GROUP_ORIGINS; i++) {
        digest_side_destroy(d->now[i]);
        digest_side_destroy(d->before[i]);
    }
    buf_deinit(&d->message);
    buf_deinit(&d->names);
    mem_free(d);
}
