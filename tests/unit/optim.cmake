# Evaluation counts: a release build runs pycma's whole table, most of a minute for 40 dimensions, which therefore are a
# test of their own; under sanitizers 10 dimensions have to do.
if(FBT_SANITIZE)
    set(cma_counts pycma 10 tutorial 10)
else()
    set(cma_counts pycma 10 pycma 20 tutorial 10 tutorial 20)
endif()
fbt_test(test_cma_counts SOURCE test_cma_counts.c LIBS fbt_optim LABEL unit TIMEOUT 600 ARGS ${cma_counts})
if(NOT FBT_SANITIZE)
    add_test(NAME test_cma_counts_40 COMMAND test_cma_counts pycma 40)
    set_tests_properties(test_cma_counts_40 PROPERTIES LABELS "unit;long" TIMEOUT 600 COST 60) # long: not in tests/run.sh --quick
endif()
fbt_test(test_cma SOURCE test_cma.c LIBS fbt_optim LABEL unit)
fbt_test(test_cma_lazy SOURCE test_cma_lazy.c LIBS fbt_optim LABEL unit)
fbt_test(test_cma_reference SOURCE test_cma_reference.c LIBS fbt_optim LABEL unit)
