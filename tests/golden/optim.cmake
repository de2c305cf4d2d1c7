fbt_test(test_cma_trace SOURCE test_cma_trace.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
fbt_test(test_cma_constants SOURCE test_cma_constants.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
fbt_test(test_searcher_traces SOURCE test_searcher_traces.c LIBS fbt_optim PkgConfig::JANSSON LABEL golden)
