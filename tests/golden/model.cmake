add_library(fbt_fixture STATIC fixture.c)
target_include_directories(fbt_fixture PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(fbt_fixture PUBLIC fbt_model PRIVATE PkgConfig::JANSSON)

fbt_test(test_model SOURCE test_model.c LIBS fbt_fixture LABEL golden)
fbt_test(test_model_batch SOURCE test_model_batch.c LIBS fbt_fixture LABEL golden)
fbt_test(test_model_contract SOURCE test_model_contract.c LIBS fbt_fixture LABEL golden)
fbt_test(test_model_files SOURCE test_model_files.c LIBS fbt_fixture PkgConfig::JANSSON LABEL golden)
# Ends with 77 where the packaged model has not been staged in.
fbt_test(test_model_minilm SOURCE test_model_minilm.c LIBS fbt_fixture LABEL golden)
target_compile_definitions(test_model_minilm PRIVATE FBT_TEST_MINILM="${PROJECT_SOURCE_DIR}/models/all-MiniLM-L6-v2")
set_tests_properties(test_model_minilm PROPERTIES SKIP_RETURN_CODE 77)
