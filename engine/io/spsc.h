/*
 * Bounded ring of pointers from one producer thread to one consumer thread.
 *
 * For traffic between two shards whose amount the sender cannot bound by itself: a full ring
 * refuses, and the sender holds its connection back. Each side keeps a copy of the other's index
 * and looks at the real one only when the copy says full or empty, so that in the steady state a
 * push or pop touches no cache line that the other side is writing.
 *
 * It wakes nobody: after a batch of pushes the producer calls reactor_wake of the consumer once.
 */
#ifndef TIERRA_ENGINE_IO_SPSC_H
#define TIERRA_ENGINE_IO_SPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

struct spsc {
    void **slots;
    uint32_t mask;
    uint8_t pad_a[52];
    /* The producer's cache line. */
    _Atomic uint32_t tail;
    uint32_t head_seen;
    uint8_t pad_b[56];
    /* The consumer's. */
    _Atomic uint32_t head;
    uint32_t tail_seen;
};

/* `capacity`: a power of two, at most 2^30. The ring allocates its slots here and only here. */
void spsc_init(struct spsc *ring, uint32_t capacity);
/* What is still in the ring is forgotten. */
void spsc_deinit(struct spsc *ring);

/* False if the ring is full. Producer. `item` is not NULL. */
static inline MUST_USE bool spsc_push(struct spsc *ring, void *item)
{
    const uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    if (tail - ring->head_seen > ring->mask) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen > ring->mask)
            return false;
    }
    ring->slots[tail & ring->mask] = item;
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

/* NULL if the ring is empty. Consumer. */
static inline void *spsc_pop(struct spsc *ring)
{
    const uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    void *item;

    if (head == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head == ring->tail_seen)
            return NULL;
    }
    item = ring->slots[head & ring->mask];
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return item;
}

#endif
