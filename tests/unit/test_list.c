/*
 * The intrusive list.
 */
#include "engine/base/list.h"

#include "tests/lib/tcase.h"

struct item {
    int value;
    struct list_link link;
};

/* The values of the list, in order, as a text of digits. */
static void show(const struct list *list, char out[16])
{
    size_t len = 0;

    LIST_FOR_EACH(link, list)
        out[len++] = (char)('0' + LIST_ITEM(link, struct item, link)->value);
    out[len] = '\0';
}

static void expect_list(const struct list *list, const char *want)
{
    char got[16];

    show(list, got);
    expect_str(got, want);
    assert_true(list_empty(list) == (want[0] == '\0'));
}

static void a_new_list_is_empty(void **state UNUSED)
{
    struct list list;

    list_init(&list);

    expect_list(&list, "");
    assert_null(list_first(&list));
    assert_null(list_last(&list));
    assert_null(list_pop_front(&list));
    assert_null(list_pop_back(&list));
}

static void items_stand_where_they_were_pushed(void **state UNUSED)
{
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    struct list list;

    list_init(&list);
    list_push_back(&list, &items[1].link);
    list_push_back(&list, &items[2].link);
    list_push_front(&list, &items[0].link);
    list_insert_after(&items[1].link, &items[3].link);

    expect_list(&list, "0132");
    assert_ptr_equal(list_first(&list), &items[0].link);
    assert_ptr_equal(list_last(&list), &items[2].link);
}

static void removal_works_at_both_ends_and_in_the_middle(void **state UNUSED)
{
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    struct list list;

    list_init(&list);
    for (size_t i = 0; i < 4; i++)
        list_push_back(&list, &items[i].link);
    assert_true(list_linked(&items[1].link));
    list_remove(&items[1].link);
    assert_false(list_linked(&items[1].link));
    expect_list(&list, "023");
    assert_ptr_equal(list_pop_front(&list), &items[0].link);
    expect_list(&list, "23");
    assert_ptr_equal(list_pop_back(&list), &items[3].link);
    expect_list(&list, "2");
    list_remove(&items[2].link);
    expect_list(&list, "");
    list_push_back(&list, &items[1].link);
    expect_list(&list, "1");
}

static void items_can_be_removed_while_walking(void **state UNUSED)
{
    struct item items[5] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};
    struct list list;

    list_init(&list);
    for (size_t i = 0; i < 5; i++)
        list_push_back(&list, &items[i].link);
    LIST_FOR_EACH_SAFE(link, &list) {
        if (LIST_ITEM(link, struct item, link)->value % 2 == 0)
            list_remove(link);
    }

    expect_list(&list, "13");
}

static void splicing_moves_all_in_order(void **state UNUSED)
{
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    struct list to;
    struct list from;

    list_init(&to);
    list_init(&from);
    list_splice_back(&to, &from);
    expect_list(&to, "");
    list_push_back(&from, &items[0].link);
    list_push_back(&from, &items[1].link);
    list_splice_back(&to, &from);
    expect_list(&to, "01");
    expect_list(&from, "");
    list_push_back(&from, &items[2].link);
    list_splice_back(&to, &from);
    expect_list(&to, "012");
    list_push_back(&from, &items[3].link);
    expect_list(&from, "3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_list_is_empty),
        cmocka_unit_test(items_stand_where_they_were_pushed),
        cmocka_unit_test(removal_works_at_both_ends_and_in_the_middle),
        cmocka_unit_test(items_can_be_removed_while_walking),
        cmocka_unit_test(splicing_moves_all_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
