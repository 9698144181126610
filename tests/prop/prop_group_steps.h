/* Steps of schedules at members of a group: commands in words, batches made by hand, going cold. */
#ifndef TIERRA_TESTS_PROP_PROP_GROUP_STEPS_H
#define TIERRA_TESTS_PROP_PROP_GROUP_STEPS_H

#include "engine/value/op.h"

#include "tests/prop/prop_group_net.h"

#define STEPS_WORDS_MAX 20

struct bytes steps_text(const char *word);
int64_t steps_int(const char *word);

/* The commands of one batch: `word` ends with NULL, "+" stands between them. */
void steps_commands(struct prop_member *m, const struct ks_key *key, char **word);
/* Such a batch at the first member, of the key "k", 10 ms later. */
void steps_send(struct net *n, const char *steps);

/* A batch whose ops are made by hand; `seen` (NULL: nothing) of other members. */
struct bytes steps_batch(struct buf *out, struct tag tag, uint64_t seq, const struct vv *seen,
                         const struct op *ops, unsigned count);

void steps_write_back(struct prop_member *m);
/* No key is hot any more. */
void steps_cold(struct prop_member *m);
/* All is written and settled, and cold. */
void steps_settle_cold(struct prop_member *m);

#endif
