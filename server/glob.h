/*
 * Glob patterns as KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET and ACL take them.
 *
 * Same language as stringmatchlen of Redis 7.0: * ? [abc] [a-z] [^a] \x, and its answers in odd
 * cases: a malformed pattern, bytes above 127 in a range (they are signed), and the empty text,
 * which only the empty pattern matches. But no recursion: each element other than * takes exactly
 * one byte, so that only the last * ever has to be widened. That is at most pattern x text steps;
 * above GLOB_STEPS_MAX the answer is "no match", which no pattern of reasonable length meets. Like
 * Redis, which recurses for each run of *, it gives up behind GLOB_STARS_MAX of them, unless the
 * next one ends the pattern.
 */
#ifndef TIERRA_SERVER_GLOB_H
#define TIERRA_SERVER_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* Bytes of the pattern looked at: about ten milliseconds. */
#define GLOB_STEPS_MAX (4u * 1024 * 1024)
/* Runs of * in a pattern. */
#define GLOB_STARS_MAX 1000u

/* Any thread. `nocase` compares ASCII letters without case. */
MUST_USE bool glob_match(struct bytes pattern, struct bytes text, bool nocase);

/* True for a pattern without special characters, which matches only itself. */
MUST_USE bool glob_is_literal(struct bytes pattern);

/*
 * The length of the part that every match starts with (case counts): a scan can skip what does
 * not start with these bytes of the pattern.
 */
MUST_USE size_t glob_prefix_len(struct bytes pattern);

#endif
