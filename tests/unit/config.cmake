fbt_test(test_config SOURCE test_config.c LIBS fbt_config LABEL unit)
fbt_test(test_sweep SOURCE test_sweep.c LIBS fbt_sweep LABEL unit)
fbt_test(test_settings_compare SOURCE test_settings_compare.c LIBS fbt_config LABEL unit)
fbt_test(test_quota SOURCE test_quota.c LIBS fbt_kernels LABEL unit)
