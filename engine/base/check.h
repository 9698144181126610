/*
 * Assertions that stay on in every build.
 *
 * CHECK states what we can prove from the code alone: arguments, results, both sides of a
 * boundary. It must never test bytes that came from disk, a peer or a client; those get an error
 * code. A failed CHECK writes a crash report (place, expression, shard, last log lines) and
 * aborts, because a process that has lost an invariant must not write one more byte of user data.
 *
 * CHECK_SLOW is for invariants that cost more than O(1); on only when TIERRA_CHECK_SLOW is defined
 * (the debug and sanitizer presets).
 */
#ifndef TIERRA_ENGINE_BASE_CHECK_H
#define TIERRA_ENGINE_BASE_CHECK_H

#include "engine/base/attr.h"

/* Reports and aborts. Any thread. Called through the macros only. */
NORETURN NOINLINE void check_fail(const char *expression, const char *file, int line);

/* Names the shard that the calling thread runs, for the crash report; -1 (the start) is none. */
void check_set_shard(int shard);

#define CHECK(x) (likely(x) ? (void)0 : check_fail(#x, __FILE__, __LINE__))

#ifdef TIERRA_CHECK_SLOW
#define CHECK_SLOW(x) CHECK(x)
#else
/* The expression is still compiled, so that it cannot rot, but never evaluated. */
#define CHECK_SLOW(x) ((void)sizeof((x) ? 1 : 0))
#endif

#define UNREACHABLE() check_fail("unreachable", __FILE__, __LINE__)

#endif
