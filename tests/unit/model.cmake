fbt_test(test_levels SOURCE test_levels.c LIBS fbt_model LABEL unit)
