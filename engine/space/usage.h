/*
 * How recently, or how often, keys are used: what eviction chooses by.
 *
 * A use is 24 bits, as in Redis, and means one of two things:
 *
 *     LRU   the second of the last use, modulo 2^24 (194 days)
 *     LFU   minute of the last decay, modulo 2^16 (16 bits) | logarithmic counter (8 bits)
 *
 * The counter starts at 5 and grows with probability 1 / ((counter - 5) * lfu-log-factor + 1) per
 * use; for each lfu-decay-time minutes without a use it falls by one. (Redis, "LFU eviction".)
 *
 * They are kept, under a policy that asks for them, in a table of bounded size: buckets of four
 * cells, a cell is 8 bits of the key's hash and the use.
 *
 *     bucket by hash -> [ hash 8 | use 24 ] x 4
 *
 * A full bucket forgets the key that would be evicted first: what is not found was used less, or
 * longer ago, than what is. With 255 values of the hash bits and four cells one look in 64 meets
 * another key's use. When the table doubles each bucket is copied to both of its successors, and
 * the halves that do not belong there are forgotten by and by. An empty table takes its size at
 * once.
 *
 * Owned by one shard thread; the use_* functions are pure.
 */
#ifndef TIERRA_ENGINE_SPACE_USAGE_H
#define TIERRA_ENGINE_SPACE_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

#define USE_BITS     24
#define USE_MASK     0xffffffu
#define USE_LFU_INIT 5u

enum use_kind {
    USE_LRU,
    USE_LFU
};

struct use_rule {
    enum use_kind kind;
    uint32_t lfu_log_factor;
    uint32_t lfu_decay_min; /* 0: never. */
};

/* Of a key that is made now. */
uint32_t use_first(const struct use_rule *rule, uint64_t now_ms);

/* After one more use. `chance`: random. */
uint32_t use_again(const struct use_rule *rule, uint32_t use, uint64_t now_ms, uint64_t chance);

/* Of a key of which only the time of its last change is known. */
uint32_t use_at(const struct use_rule *rule, uint64_t changed_ms);

/* Of a key that was not used for so long, or this often: the one that the rule is about. */
uint32_t use_told(const struct use_rule *rule, uint64_t idle_s, uint8_t frequency, uint64_t now_ms);

/* Milliseconds without a use: to a second. LRU only. */
uint64_t use_idle_ms(uint32_t use, uint64_t now_ms);

/* The counter as of now: 0 to 255. LFU only. */
uint32_t use_frequency(const struct use_rule *rule, uint32_t use, uint64_t now_ms);

/* The higher, the sooner the key is evicted. */
uint64_t use_rank(const struct use_rule *rule, uint32_t use, uint64_t now_ms);

struct usage;

/* At most `bytes_max` bytes; begins small. */
MUST_USE struct usage *usage_create(size_t bytes_max);
void usage_destroy(struct usage *u);

/* There are so many keys: grows, within its bound. */
void usage_fit(struct usage *u, uint64_t keys);

/*
 * The use of a key, by slot and the top KEYTAB_HASH_BITS of its hash. What it had before is
 * replaced. `rule` and `now_ms` decide what a full bucket forgets.
 */
void usage_put(struct usage *u, uint16_t slot, uint64_t hash, uint32_t use,
               const struct use_rule *rule, uint64_t now_ms);
MUST_USE bool usage_get(const struct usage *u, uint16_t slot, uint64_t hash, uint32_t *out);

/* As allocated; NULL is 0. */
size_t usage_bytes(const struct usage *u);

#endif
