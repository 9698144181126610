/*
 * Orders of eviction for the memory tier, as small models that a trace is played against.
 *
 * A model keeps `capacity` of `keys` keys resident, all of one size. A read of a key that is not
 * resident is a miss; whether it is admitted is the model's choice. A write makes its key resident
 * whatever the model thinks, as a write to a cold key does in the node.
 *
 * Keys are 0 .. keys - 1 and state is kept in arrays over them: what an order costs in a real
 * table is judged by its description, not by these models.
 */
#ifndef TIERRA_BENCH_POLICY_POLICY_H
#define TIERRA_BENCH_POLICY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct policy_kind {
    const char *name;
    void *(*create)(uint32_t capacity, uint32_t keys); /* Both above 0. */
    /* True if the key was resident. */
    bool (*access)(void *policy, uint32_t key, bool write);
    /* How often a key was made resident: each costs a copy, and an eviction. */
    uint64_t (*admissions)(const void *policy);
    void (*destroy)(void *policy);
};

extern const struct policy_kind policy_lru;
extern const struct policy_kind policy_sieve;
extern const struct policy_kind policy_sieve_touch;  /* Admits on the second touch. */
extern const struct policy_kind policy_clock;        /* Two bits a key. */
extern const struct policy_kind policy_clock_touch;  /* Admits on the second touch. */
extern const struct policy_kind policy_clock_apart;  /* And keeps what was only written apart. */
extern const struct policy_kind policy_s3fifo;       /* With a queue of ghosts. */
extern const struct policy_kind policy_s3fifo_touch; /* With the touched bit for a ghost. */

#endif
