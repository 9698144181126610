/*
 * Who waits for reads, what is pinned for them, and whose turn it is; resident.h tells the plan.
 *
 * The holder is the one waiter whose pins keep the elements of hashes and sets, not the key rows
 * alone. The place is taken by the next that has tried in vain HOLD_ROUNDS times, and given back
 * when its command is over.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

/* A command whose reads have come so often, and which still has not all, becomes the holder. */
#define HOLD_ROUNDS 3

/* A waiter's place in a queue, or a pin. */
struct place {
    struct list_link queue_link;
    struct list_link wait_link; /* In wait->flights; of a pin in wait->pins. */
    struct ks_wait *wait;
    struct keyspace *ks; /* Of a pin: */
    uint64_t hash;
    uint16_t slot;
};

static void wait_init(struct ks_wait *wait)
{
    if (wait->flights.head.next != NULL)
        return;
    list_init(&wait->flights);
    list_init(&wait->pins);
}

void ks_wait_on(struct list *waiters, struct ks_wait *wait)
{
    struct place *p = mem_zalloc(sizeof(*p));

    wait_init(wait);
    p->wait = wait;
    list_push_back(waiters, &p->queue_link);
    list_push_back(&wait->flights, &p->wait_link);
    wait->pending++;
}

/* --- pins --- */

/* The object of a key that is hot, or NULL. */
static struct obj *hot_obj(const struct keyspace *ks, uint16_t slot, uint64_t hash)
{
    struct keytab_ref ref;

    return keytab_find_hot(ks->tab, slot, hash, &ref) ? ref.obj : NULL;
}

/* The elements of the key stay, too, or not any more. */
static void hold(struct obj *obj, bool on)
{
    if (obj != NULL && (obj->h.flags & BLK_COLL) != 0)
        obj_coll(obj)->held = on;
}

/* Turns the place in a queue into a pin of the key, if that is hot, or of its key row. */
static void pin(struct place *p, struct keyspace *ks, uint16_t slot, uint64_t hash)
{
    struct obj *obj = hot_obj(ks, slot, hash);

    if (obj == NULL ? !ks_group_pin(ks, slot, hash) : obj->pins == UINT8_MAX) {
        mem_free(p);
        return;
    }
    if (obj != NULL)
        obj->pins++;
    if (ks->holder == p->wait)
        hold(obj, true);
    p->ks = ks;
    p->hash = hash;
    p->slot = slot;
    list_push_back(&p->wait->pins, &p->wait_link);
}

void ks_wait_pin(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    struct place *p = mem_zalloc(sizeof(*p));

    wait_init(wait);
    p->wait = wait;
    pin(p, ks, key->slot, key->hash);
}

/* Of the holder: what its pins keep. */
static void hold_all(const struct ks_wait *wait, bool on)
{
    LIST_FOR_EACH(link, &wait->pins) {
        const struct place *p = LIST_ITEM(link, struct place, wait_link);
        hold(hot_obj(p->ks, p->slot, p->hash), on);
    }
}

void ks_wait_release(struct ks_wait *wait)
{
    struct list_link *link;

    if (wait->holds != NULL) {
        hold_all(wait, false);
        wait->holds->holder = NULL;
        wait->holds = NULL;
    }
    while ((link = list_pop_front(&wait->pins)) != NULL) {
        struct place *p = LIST_ITEM(link, struct place, wait_link);
        struct obj *obj = hot_obj(p->ks, p->slot, p->hash);
        /* Another object may have taken its place meanwhile. */
        if (obj != NULL && obj->pins != 0)
            obj->pins--;
        if (obj == NULL)
            ks_group_unpin(p->ks, p->slot, p->hash);
        mem_free(p);
    }
    wait->rounds = 0;
    wait->served = false;
}

void ks_wait_cancel(struct ks_wait *wait)
{
    struct list_link *link;

    if (wait->flights.head.next == NULL)
        return;
    while ((link = list_pop_front(&wait->flights)) != NULL) {
        struct place *p = LIST_ITEM(link, struct place, wait_link);
        list_remove(&p->queue_link);
        mem_free(p);
    }
    ks_wait_release(wait);
    wait->pending = 0;
    wait->queued = false;
}

/* --- waking --- */

/* One thing less to wait for. */
static void arrived(struct ks_wait *wait, struct keyspace *ks)
{
    if (--wait->pending != 0)
        return;
    if (++wait->rounds >= HOLD_ROUNDS && ks != NULL && ks->holder == NULL) {
        ks->holder = wait;
        wait->holds = ks;
        hold_all(wait, true);
    }
    wait->on_ready(wait);
}

/* `ks`: what has come is to be pinned there; NULL: nothing. */
static void wake_all(struct list *waiters, struct keyspace *ks, uint16_t slot, uint64_t hash,
                     int err)
{
    struct list_link *link;
    struct list all;

    /* What runs here may free what `waiters` is part of. */
    list_init(&all);
    list_splice_back(&all, waiters);
    while ((link = list_pop_front(&all)) != NULL) {
        struct place *p = LIST_ITEM(link, struct place, queue_link);
        struct ks_wait *wait = p->wait;
        list_remove(&p->wait_link);
        if (wait->err == 0)
            wait->err = err;
        if (ks != NULL)
            pin(p, ks, slot, hash);
        else
            mem_free(p);
        arrived(wait, ks);
    }
}

void ks_wake(struct list *waiters, int err)
{
    wake_all(waiters, NULL, 0, 0, err);
}

void ks_wake_pinning(struct list *waiters, struct keyspace *ks, uint16_t slot, uint64_t hash,
                     int err)
{
    wake_all(waiters, ks, slot, hash, err);
}

/* --- room for reads --- */

bool ks_wait_for_room(struct keyspace *ks, struct ks_wait *wait)
{
    const bool first = list_empty(&ks->room) || wait->served;

    if (first && ks->flights_count < ks_flights_max(ks))
        return false;
    /* Nothing under way would wake it: there is room, whoever else waits. */
    if (ks->flights_count == 0)
        return false;
    wait->served = false;
    if (!wait->queued) {
        wait->queued = true;
        ks_wait_on(&ks->room, wait);
    }
    return true;
}

void ks_wake_room(struct keyspace *ks)
{
    /* Some at a time: a command that gets room for one read alone would try again for each. */
    const uint32_t max = ks_flights_max(ks);
    struct list_link *link;

    while (ks->flights_count <= max - max / 4 && (link = list_pop_front(&ks->room)) != NULL) {
        struct place *p = LIST_ITEM(link, struct place, queue_link);
        struct ks_wait *wait = p->wait;
        list_remove(&p->wait_link);
        mem_free(p);
        wait->queued = false;
        wait->served = true;
        arrived(wait, ks);
    }
}
