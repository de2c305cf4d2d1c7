fbt_test(test_metrics SOURCE test_metrics.c LIBS fbt_toy LABEL unit)
fbt_test(test_fitness SOURCE test_fitness.c LIBS fbt_toy LABEL unit)
fbt_test(test_protocols SOURCE test_protocols.c LIBS fbt_toy LABEL unit)
