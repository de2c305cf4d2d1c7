add_library(test_record_fixture STATIC test_record_fixture.c)
target_include_directories(test_record_fixture PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(test_record_fixture PUBLIC fbt_record fbt_flags PkgConfig::HDF5 PkgConfig::CMOCKA)

fbt_test(test_record_run SOURCE test_record_run.c LIBS test_record_fixture LABEL unit)
fbt_test(test_record_reader SOURCE test_record_reader.c LIBS test_record_fixture PkgConfig::JANSSON LABEL unit)
fbt_test(test_record_output SOURCE test_record_output.c LIBS test_record_fixture LABEL unit)
fbt_test(test_record_dataset SOURCE test_record_dataset.c LIBS test_record_fixture LABEL unit)
