fbt_test(test_nvflare_trace SOURCE test_nvflare_trace.c LIBS fbt_toy PkgConfig::JANSSON LABEL golden)
foreach(name fbt_cma_ask_all fbt_cma_set_step_size fbt_evaluator_n_streams fbt_scoring_start fbt_scoring_finish)
    target_link_options(test_nvflare_trace PRIVATE -Wl,--wrap=${name})
endforeach()
