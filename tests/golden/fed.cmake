fbt_test(test_nvflare_trace SOURCE test_nvflare_trace.c LIBS fbt_toy PkgConfig::JANSSON LABEL golden)
foreach(name fbt_cma_ask fbt_cma_set_step_size fbt_client_score)
    target_link_options(test_nvflare_trace PRIVATE -Wl,--wrap=${name})
endforeach()
