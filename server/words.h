/*
 * Words of a line with quotes: inline commands and configuration files (sdssplitargs and sdscatrepr
 * of Redis).
 *
 *     set key "a b\n\x41" 'it\'s'
 *
 * Blanks separate words. Double quotes take \n \r \t \b \a \xHH and any escaped byte, single
 * quotes \' only; a closing quote must be followed by a blank or the end. A zero byte separates
 * like a blank.
 */
#ifndef TIERRA_SERVER_WORDS_H
#define TIERRA_SERVER_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

/* True if a word of the line may have quotes. */
bool words_quoted(struct bytes line);

/*
 * Takes the next word of `line` from `*at` on. Returns 1; 0 if there is none; -ERR_SYNTAX if quotes
 * are not balanced. A word of a line without quotes is a slice of it. With quotes words are
 * written to `*scratch`, which advances: it needs room for as many bytes as the line has, for all
 * words together.
 */
MUST_USE int words_next(struct bytes line, size_t *at, uint8_t **scratch, struct bytes *out);

/* Appends the value in double quotes, so that words_next gives it back. Returns 0 or an error. */
MUST_USE int words_quote(struct buf *out, struct bytes value);

#endif
