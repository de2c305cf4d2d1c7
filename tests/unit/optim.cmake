# Evaluation counts: a release build runs pycma's whole table, most of a minute for 40 dimensions, which therefore are a
# test of their own; under sanitizers 10 dimensions have to do.
if(FBT_SANITIZE)
    set(cma_counts pycma eigen 10 tutorial cholesky 10)
else()
    set(cma_counts pycma eigen 10 pycma eigen 20 tutorial eigen 10 tutorial eigen 20 pycma cholesky 10 pycma cholesky 20
        tutorial cholesky 10 tutorial cholesky 20)
endif()
fbt_test(test_cma_counts SOURCE test_cma_counts.c LIBS fbt_optim LABEL unit TIMEOUT 600 ARGS ${cma_counts})
if(NOT FBT_SANITIZE)
    foreach(decomposition eigen cholesky)
        add_test(NAME test_cma_counts_40_${decomposition} COMMAND test_cma_counts pycma ${decomposition} 40)
        # long: not in tests/run.sh --quick
        set_tests_properties(test_cma_counts_40_${decomposition} PROPERTIES LABELS "unit;long" TIMEOUT 600 COST 60)
    endforeach()
endif()
fbt_test(test_cma SOURCE test_cma.c LIBS fbt_optim LABEL unit)
fbt_test(test_cma_lazy SOURCE test_cma_lazy.c LIBS fbt_optim LABEL unit)
fbt_test(test_cma_products SOURCE test_cma_products.c LIBS fbt_optim LABEL unit)
fbt_test(test_cma_reference SOURCE test_cma_reference.c LIBS fbt_optim LABEL unit)
