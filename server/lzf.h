/*
 * LZF, as Redis compresses long strings in its dumps. Only reading is needed: what we write is not
 * compressed.
 *
 *     000nnnnn                      n + 1 literal bytes follow
 *     nnnooooo oooooooo             n + 2 (n 1 .. 6) bytes from o + 1 bytes back
 *     111ooooo nnnnnnnn oooooooo    n + 9 of them
 *
 * What is copied may overlap what is written.
 */
#ifndef TIERRA_SERVER_LZF_H
#define TIERRA_SERVER_LZF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* No input gives more than so many bytes for one of its own. */
#define LZF_RATIO_MAX 88u

/* Expands `in` to exactly `len` bytes at `dst`. False: damaged. */
MUST_USE bool lzf_expand(struct bytes in, uint8_t *dst, size_t len);

#endif
