/*
 * What a key of a group must be, from its ops alone.
 *
 * Every batch that any member made is kept, with its context. What is alive follows from who has
 * seen whom: a change is gone if an op that removes it has it in its context. Nothing here joins
 * rows; nothing depends on the order in which batches arrived.
 */
#ifndef TIERRA_TESTS_PROP_PROP_GROUP_ORACLE_H
#define TIERRA_TESTS_PROP_PROP_GROUP_ORACLE_H

#include <stdbool.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"

struct oracle;

struct oracle *oracle_create(void);
void oracle_destroy(struct oracle *o);

/* A batch as its origin has logged it. */
void oracle_add(struct oracle *o, struct bytes bytes);

/*
 * Appends what the key shows, as text; nothing if it is absent. False: it ever had an expiry, of
 * which this oracle knows nothing.
 */
bool oracle_show(const struct oracle *o, struct bytes key, struct buf *out);

/* The ops of the key, latest first, to stderr. */
void oracle_print(const struct oracle *o, struct bytes key);

#endif
