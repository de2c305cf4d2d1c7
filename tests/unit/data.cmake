fbt_test(test_batch SOURCE test_batch.c LIBS fbt_data LABEL unit)
fbt_test(test_client_sizes SOURCE test_client_sizes.c LIBS fbt_data m LABEL unit)
fbt_test(test_partition SOURCE test_partition.c LIBS fbt_data LABEL unit)
fbt_test(test_perturb SOURCE test_perturb.c LIBS fbt_kernels LABEL unit)
# Built from its one source: the rest of src/fed needs MPI and a backend, placement needs neither.
fbt_test(test_placement SOURCE test_placement.c LIBS fbt_base LABEL unit)
target_sources(test_placement PRIVATE ${PROJECT_SOURCE_DIR}/src/fed/placement.c)
