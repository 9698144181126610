/*
 * A doubly linked list of keys in arrays: what LRU, SIEVE and the queues of S3-FIFO are made of.
 * A key is in a list at most once; several lists may share the links if no key is in two.
 */
#ifndef TIERRA_BENCH_POLICY_POLICY_QUEUE_H
#define TIERRA_BENCH_POLICY_POLICY_QUEUE_H

#include <stdint.h>

#include "engine/base/mem.h"

#define POLICY_NONE UINT32_MAX

struct policy_links {
    uint32_t *newer;
    uint32_t *older;
};

struct policy_queue {
    struct policy_links *links;
    uint32_t newest;
    uint32_t oldest;
    uint32_t count;
};

static inline void policy_links_init(struct policy_links *links, uint32_t keys)
{
    links->newer = mem_zalloc_array(keys, sizeof(uint32_t));
    links->older = mem_zalloc_array(keys, sizeof(uint32_t));
}

static inline void policy_links_deinit(struct policy_links *links)
{
    mem_free(links->newer);
    mem_free(links->older);
}

static inline void policy_queue_init(struct policy_queue *queue, struct policy_links *links)
{
    *queue = (struct policy_queue){.links = links, .newest = POLICY_NONE, .oldest = POLICY_NONE};
}

static inline void policy_queue_push(struct policy_queue *queue, uint32_t key)
{
    queue->links->older[key] = queue->newest;
    queue->links->newer[key] = POLICY_NONE;
    if (queue->newest == POLICY_NONE)
        queue->oldest = key;
    else
        queue->links->newer[queue->newest] = key;
    queue->newest = key;
    queue->count++;
}

static inline void policy_queue_remove(struct policy_queue *queue, uint32_t key)
{
    const uint32_t newer = queue->links->newer[key];
    const uint32_t older = queue->links->older[key];

    if (newer == POLICY_NONE)
        queue->newest = older;
    else
        queue->links->older[newer] = older;
    if (older == POLICY_NONE)
        queue->oldest = newer;
    else
        queue->links->newer[older] = newer;
    queue->count--;
}

#endif
