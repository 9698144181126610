/*
 * What a flight has read of a cold key of a group, joined with the overlay: between group_load.c,
 * which reads, and group_sweep.c, which collects garbage.
 */
#ifndef TIERRA_ENGINE_SPACE_GROUP_LOADED_H
#define TIERRA_ENGINE_SPACE_GROUP_LOADED_H

#include "engine/space/flight.h"
#include "engine/space/group_impl.h"

struct loaded {
    struct keyspace *ks;
    struct ks_key key;
    struct overlay_key *over; /* Or NULL. */
    struct bytes rows;        /* The key's rows, without its key row. */
    struct buf key_row;
    struct row_view view;
    struct group_shape shape;
    struct vv clear;
    bool any; /* There are rows in the store. */
};

/* --- group_load.c --- */

/* The next row: its kind and subkey. False at the end, or if it makes no sense. */
bool group_loaded_next(struct bytes *in, uint8_t *kind, struct bytes *sub, struct bytes *row);
/* What the overlay has of a row, or NULL. */
struct overlay_entry *group_loaded_over(const struct loaded *l, uint8_t kind, struct bytes sub);
/* A row of the store of an element with `o` of the overlay, under the key's clear vector. */
struct bytes group_loaded_elem(const struct loaded *l, struct bytes row,
                               const struct overlay_entry *o);

/* --- group_sweep.c; horizons are known --- */

/* All rows of a cold key. */
void group_loaded_collect(struct loaded *l, const struct keytab_ref *ref);
/* A slice of the rows of a cold key. */
void group_loaded_collect_part(struct loaded *l, const struct keytab_ref *ref,
                               const struct flight *f);

#endif
