/*
 * The rows of a small hash in the order in which its fields were last written. The store has them
 * by name; Redis keeps small hashes in the order in which fields came, and clients have come to see
 * that. A field that is written again is a new row and goes to the end, other than in Redis, and
 * fields of one command stand in the order of the store: nothing on flash knows better.
 */
#include <stdlib.h>

#include "engine/space/flight.h"
#include "engine/value/row.h"

static struct tag written(struct bytes row)
{
    struct row_view view;

    /* Who installs it finds what is wrong with it. */
    return !bytes_empty(row) && row_view(row, 0, &view) == 0 ? view.tag : (struct tag){0};
}

static int by_age(const void *a, const void *b)
{
    const struct flight_row *x = a, *y = b;
    const int order = tag_cmp(x->tag, y->tag);

    return order != 0 ? order : (x->at > y->at) - (x->at < y->at);
}

uint32_t flight_rows_by_age(struct bytes *rows, struct flight_row out[FLIGHT_ORDERED_MAX])
{
    uint32_t count = 0;

    while (count < FLIGHT_ORDERED_MAX && flight_rows_take(rows, &out[count].sub, &out[count].row)) {
        out[count].tag = written(out[count].row);
        out[count].at = count;
        count++;
    }
    qsort(out, count, sizeof(out[0]), by_age);
    return count;
}
