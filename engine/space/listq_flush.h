/*
 * Tombstones of listq, for the files that implement it.
 */
#ifndef TIERRA_ENGINE_SPACE_LISTQ_FLUSH_H
#define TIERRA_ENGINE_SPACE_LISTQ_FLUSH_H

#include <stdint.h>

#include "engine/base/bytes.h"

struct listq;

/* The store has a row at this position that is to be deleted. */
void tomb_add(struct listq *q, struct bytes position, uint64_t lsn);
void tombs_clear(struct listq *q);

#endif
