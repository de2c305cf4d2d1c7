fbt_test(test_cma_trace SOURCE test_cma_trace.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
fbt_test(test_cma_constants SOURCE test_cma_constants.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
fbt_test(test_searcher_traces SOURCE test_searcher_traces.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
fbt_test(test_bdpl_trace SOURCE test_bdpl_trace.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
fbt_test(test_searcher_counts SOURCE test_searcher_counts.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden TIMEOUT 600)
fbt_pytest(test_searcher_table FILES ${CMAKE_CURRENT_SOURCE_DIR}/test_searcher_table.py LABEL golden TIMEOUT 600 ENVIRONMENT
    SEARCHER_COUNTS=$<TARGET_FILE:test_searcher_counts>)
