/* The parts of the property test of the keyspace that are about one type; prop_keyspace.c. */
#ifndef TIERRA_TESTS_PROP_PROP_KEYSPACE_PARTS_H
#define TIERRA_TESTS_PROP_PROP_KEYSPACE_PARTS_H

#include "tests/prop/prop_keyspace_core.h"

/* A random command on a random list, and check_list after it. */
void list_command(struct core *c);
/* Some elements at either end of a list, or all, are those of the model. */
void check_list(struct core *c, unsigned l, bool all);

/* Ranges of a random sorted set, by rank or by score, are those of the model. */
void check_ranges(struct core *c);
/*
 * With everything written back, the score index of each sorted set has a row for each member and
 * no other, but for what a sweep is still to remove.
 */
void check_index(struct core *c);

#endif
