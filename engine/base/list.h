/*
 * Intrusive circular doubly linked list.
 *
 *        +--------------------------------------------+
 *        v                                            |
 *     [ list.head ] <-> [ item.link ] <-> [ item.link ]
 *
 * The link is a member of the item, so that linking allocates nothing and removal needs no
 * search. The list owns nothing. A link starts as zero ({0}) and is zero again when it is in no
 * list; it can be in one list at a time, which is checked. A list must not be copied or moved
 * once it is initialised.
 */
#ifndef TIERRA_ENGINE_BASE_LIST_H
#define TIERRA_ENGINE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/attr.h"
#include "engine/base/check.h"

struct list_link {
    struct list_link *prev;
    struct list_link *next;
};

struct list {
    struct list_link head;
};

static inline void list_init(struct list *list)
{
    list->head.prev = &list->head;
    list->head.next = &list->head;
}

static inline bool list_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

/* True while the link is in some list. */
static inline bool list_linked(const struct list_link *link)
{
    return link->next != NULL;
}

/* Puts `link` after `where`, which is in a list or is its head. */
static inline void list_insert_after(struct list_link *where, struct list_link *link)
{
    CHECK(!list_linked(link));
    CHECK(list_linked(where));
    link->prev = where;
    link->next = where->next;
    where->next->prev = link;
    where->next = link;
}

static inline void list_push_front(struct list *list, struct list_link *link)
{
    list_insert_after(&list->head, link);
}

static inline void list_push_back(struct list *list, struct list_link *link)
{
    list_insert_after(list->head.prev, link);
}

static inline void list_remove(struct list_link *link)
{
    CHECK(list_linked(link));
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = NULL;
    link->next = NULL;
}

/* NULL if the list is empty. */
static inline struct list_link *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.next;
}

static inline struct list_link *list_last(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.prev;
}

/* Takes the first link out; NULL if the list is empty. */
static inline struct list_link *list_pop_front(struct list *list)
{
    struct list_link *link = list_first(list);

    if (link != NULL)
        list_remove(link);
    return link;
}

static inline struct list_link *list_pop_back(struct list *list)
{
    struct list_link *link = list_last(list);

    if (link != NULL)
        list_remove(link);
    return link;
}

/* Moves all of `from` to the end of `to`, in order. O(1). */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

/* `it` is declared as struct list_link *. The body must not unlink it. */
#define LIST_FOR_EACH(it, list) \
    for (struct list_link *it = (list)->head.next; it != &(list)->head; it = it->next)

/* The body may unlink or free `it`, and nothing else. */
#define LIST_FOR_EACH_SAFE(it, list)                                                           \
    for (struct list_link *it = (list)->head.next, *it##_next = it->next; it != &(list)->head; \
         it = it##_next, it##_next = it->next)

/* The item of `type` that holds `link` as `member`. */
#define LIST_ITEM(link, type, member) container_of(link, type, member)

#endif
