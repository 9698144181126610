/*
 * S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): new keys
 * enter a small queue, a tenth of the room; those hit at least twice there move on to the main
 * queue, the others leave and are remembered as ghosts; a miss on a ghost enters the main queue at
 * once. In the main queue a key with hits left goes around again, one hit less.
 *
 * Ghosts are a queue as long as the main one, or, where a cold key has a bit to spare, that bit.
 *
 * The same queues make the CLOCK with second touch that keeps writes apart: a queue whose oldest
 * key goes around again while it has hits left is a CLOCK. Reads enter it at the second touch; a
 * write to a cold key enters the small queue, and the CLOCK from there only if it was read
 * meanwhile. What is written and not read leaves after a tenth of the room, not after a lap of all
 * of it.
 */
#include "bench/policy/policy.h"
#include "bench/policy/policy_queue.h"
#include "bench/policy/policy_touch.h"

#define COUNT_MAX   3
#define SMALL_PARTS 10

enum variant {
    VARIANT_GHOSTS,
    VARIANT_BIT_AS_GHOST,
    VARIANT_WRITES_APART,
};

enum place {
    PLACE_COLD,
    PLACE_SMALL,
    PLACE_MAIN,
    PLACE_GHOST,
};

struct s3fifo {
    struct policy_links links;
    struct policy_queue small;
    struct policy_queue main;
    struct policy_queue ghosts;
    struct policy_touch touch;
    uint8_t *place;
    uint8_t *counts;
    uint32_t capacity;
    uint32_t small_max;
    uint64_t admissions;
    enum variant variant;
    uint8_t move_count_min; /* Hits in the small queue that lead to the main one. */
};

static struct s3fifo *create(uint32_t capacity, uint32_t keys, enum variant variant)
{
    struct s3fifo *s3 = mem_zalloc(sizeof(*s3));

    policy_links_init(&s3->links, keys);
    policy_queue_init(&s3->small, &s3->links);
    policy_queue_init(&s3->main, &s3->links);
    policy_queue_init(&s3->ghosts, &s3->links);
    policy_touch_init(&s3->touch, capacity, keys);
    s3->place = mem_zalloc(keys);
    s3->counts = mem_zalloc(keys);
    s3->capacity = capacity;
    s3->small_max = capacity / SMALL_PARTS + 1;
    s3->variant = variant;
    s3->move_count_min = variant == VARIANT_WRITES_APART ? 1 : 2;
    return s3;
}

static void *create_plain(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, VARIANT_GHOSTS);
}

static void *create_touch(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, VARIANT_BIT_AS_GHOST);
}

static void *create_apart(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, VARIANT_WRITES_APART);
}

static void move(struct s3fifo *s3, struct policy_queue *from, struct policy_queue *to,
                 uint32_t key, enum place place)
{
    policy_queue_remove(from, key);
    policy_queue_push(to, key);
    s3->place[key] = (uint8_t)place;
}

static void remember_ghost(struct s3fifo *s3, uint32_t key)
{
    if (s3->variant != VARIANT_GHOSTS) {
        policy_queue_remove(&s3->small, key);
        s3->place[key] = PLACE_COLD;
        policy_touch_set(&s3->touch, key);
        return;
    }
    move(s3, &s3->small, &s3->ghosts, key, PLACE_GHOST);
    if (s3->ghosts.count > s3->capacity - s3->small_max) {
        s3->place[s3->ghosts.oldest] = PLACE_COLD;
        policy_queue_remove(&s3->ghosts, s3->ghosts.oldest);
    }
}

/* One step of eviction; true if a key has left. */
static bool evict_step(struct s3fifo *s3)
{
    if (s3->small.count >= s3->small_max || s3->main.count == 0) {
        const uint32_t key = s3->small.oldest;
        const bool moves = s3->counts[key] >= s3->move_count_min;
        s3->counts[key] = 0;
        if (!moves) {
            remember_ghost(s3, key);
            return true;
        }
        move(s3, &s3->small, &s3->main, key, PLACE_MAIN);
        return false;
    }
    const uint32_t key = s3->main.oldest;
    if (s3->counts[key] > 0) {
        s3->counts[key]--;
        move(s3, &s3->main, &s3->main, key, PLACE_MAIN);
        return false;
    }
    policy_queue_remove(&s3->main, key);
    s3->place[key] = PLACE_COLD;
    return true;
}

static bool take_ghost(struct s3fifo *s3, uint32_t key)
{
    if (s3->variant != VARIANT_GHOSTS)
        return policy_touch_take(&s3->touch, key);
    if (s3->place[key] != PLACE_GHOST)
        return false;
    policy_queue_remove(&s3->ghosts, key);
    s3->place[key] = PLACE_COLD;
    return true;
}

static bool access_key(void *policy, uint32_t key, bool write)
{
    struct s3fifo *s3 = policy;

    if (s3->place[key] == PLACE_SMALL || s3->place[key] == PLACE_MAIN) {
        s3->counts[key] = (uint8_t)(s3->counts[key] + (s3->counts[key] < COUNT_MAX));
        return true;
    }
    const bool ghost = take_ghost(s3, key);
    if (s3->variant == VARIANT_WRITES_APART && !ghost && !write) {
        policy_touch_set(&s3->touch, key);
        return false;
    }
    while (s3->small.count + s3->main.count >= s3->capacity && !evict_step(s3)) {
    }
    policy_queue_push(ghost ? &s3->main : &s3->small, key);
    s3->place[key] = ghost ? PLACE_MAIN : PLACE_SMALL;
    s3->counts[key] = 0;
    s3->admissions++;
    return false;
}

static uint64_t admissions(const void *policy)
{
    return ((const struct s3fifo *)policy)->admissions;
}

static void destroy(void *policy)
{
    struct s3fifo *s3 = policy;

    policy_links_deinit(&s3->links);
    policy_touch_deinit(&s3->touch);
    mem_free(s3->place);
    mem_free(s3->counts);
    mem_free(s3);
}

const struct policy_kind policy_s3fifo = {"S3-FIFO", create_plain, access_key, admissions, destroy};
const struct policy_kind policy_s3fifo_touch = {"S3-FIFO, bit as ghost", create_touch, access_key,
                                                admissions, destroy};
const struct policy_kind policy_clock_apart = {"CLOCK, touch, writes apart", create_apart,
                                               access_key, admissions, destroy};
