# Places of what `cmake --install` copies: program, library with its headers, descriptions for pkg-config and CMake, manual pages, shell
# completion, licences, and what Python and the job scripts need. Included by the top-level CMakeLists.txt behind the targets.
include(CMakePackageConfigHelpers)

# Headers that programs include to use the library. What these include is public, too, and found by following them.
set(entries base/build_info.h base/log.h comm/comm.h config/settings.h fed/evaluator.h fed/federation.h model/model.h
    run/experiment.h run/inputs.h run/limits.h run/observer.h
    run/repeat.h run/scoring.h)

# The given headers and all of ours that they include, as paths from the project's folder.
function(fbt_follow_includes result)
    set(found "")
    set(next ${ARGN})
    while(next)
        list(POP_FRONT next name)
        set(path src/${name})
        if(NOT EXISTS ${PROJECT_SOURCE_DIR}/${path})
            set(path ${name})
        endif()
        if(NOT path IN_LIST found)
            list(APPEND found ${path})
            file(STRINGS ${PROJECT_SOURCE_DIR}/${path} lines REGEX "^#include \"")
            list(TRANSFORM lines REPLACE "^#include \"([^\"]+)\".*" "\\1")
            list(APPEND next ${lines})
        endif()
    endwhile()
    list(SORT found)
    set(${result} ${found} PARENT_SCOPE)
endfunction()

# Names of the functions and variables that the headers declare; inline functions are in no library.
function(fbt_declared_names result)
    set(names "")
    foreach(path IN LISTS ARGN)
        file(READ ${PROJECT_SOURCE_DIR}/${path} text)
        string(REGEX REPLACE "/\\*([^*]|\\*+[^*/])*\\*+/" "" text "${text}")
        string(REGEX REPLACE "static inline [^{]*{[^}]*}" "" text "${text}")
        string(REGEX MATCHALL "[^a-z0-9_]fbt_[a-z0-9_]+\\(|\nextern [^;(]*fbt_[a-z0-9_]+" declarations "${text}")
        list(TRANSFORM declarations REPLACE "^.*[^a-z0-9_](fbt_[a-z0-9_]+)\\(?$" "\\1")
        list(APPEND names ${declarations})
    endforeach()
    list(REMOVE_DUPLICATES names)
    list(SORT names)
    set(${result} ${names} PARENT_SCOPE)
endfunction()

fbt_follow_includes(headers ${entries})
set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
fbt_declared_names(names ${headers})
list(JOIN names ";\n    " names)
set(exported ${PROJECT_BINARY_DIR}/libfedbpt.map)
file(CONFIGURE OUTPUT ${exported} CONTENT "{\nglobal:\n    @names@;\nlocal:\n    *;\n};\n" @ONLY)

# One library of the folders' libraries. Shared alone: a static one would ask its users to name all that it links.
add_library(fbt_library SHARED $<TARGET_OBJECTS:fbt_base>)
add_library(fedbpt::fedbpt ALIAS fbt_library)
set(folders fbt_kernels fbt_config fbt_data fbt_model fbt_optim fbt_comm fbt_fed fbt_record fbt_run)
list(TRANSFORM folders REPLACE "(.+)" "$<TARGET_FILE:\\1>" OUTPUT_VARIABLE archives)
target_link_libraries(fbt_library PRIVATE -Wl,--whole-archive ${archives} -Wl,--no-whole-archive ${folders})
target_link_options(fbt_library PRIVATE -Wl,--version-script=${exported} $<$<NOT:$<BOOL:${FBT_SANITIZE}>>:-Wl,--no-undefined>)
set_target_properties(fbt_library PROPERTIES OUTPUT_NAME fedbpt EXPORT_NAME fedbpt LINK_DEPENDS ${exported}
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

# Below a folder of their own: programs have include/fedbpt among their folders and name headers as the sources here do.
set(header_folder ${CMAKE_INSTALL_INCLUDEDIR}/fedbpt)
set(kernel_headers ${headers})
list(FILTER headers INCLUDE REGEX "^src/")
list(FILTER kernel_headers EXCLUDE REGEX "^src/")
list(TRANSFORM headers PREPEND ${PROJECT_SOURCE_DIR}/)
list(TRANSFORM kernel_headers PREPEND ${PROJECT_SOURCE_DIR}/)
target_sources(fbt_library
    PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/src FILES ${headers}
    PUBLIC FILE_SET kernel_headers TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${kernel_headers})

install(TARGETS fedbpt RUNTIME)
install(TARGETS fbt_library EXPORT fedbptTargets LIBRARY FILE_SET HEADERS DESTINATION ${header_folder}
    FILE_SET kernel_headers DESTINATION ${header_folder})

# Descriptions. They name folders relative to themselves, so that the installed tree can be moved.
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/fedbpt)
install(EXPORT fedbptTargets FILE fedbptConfig.cmake NAMESPACE fedbpt:: DESTINATION ${package_folder})
write_basic_package_version_file(fedbptConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fedbptConfigVersion.cmake DESTINATION ${package_folder})
file(RELATIVE_PATH prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/fedbpt.pc.in fedbpt.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fedbpt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# Manual pages and shell completion: what the program says of itself, in their forms. Not of builds with sanitizers, whose starts take
# long and which nobody installs.
find_package(Python3 3.9 COMPONENTS Interpreter)
if(Python3_FOUND AND NOT FBT_SANITIZE)
    set(reference ${PROJECT_BINARY_DIR}/reference)
    add_custom_command(OUTPUT ${reference}/bash/fedbpt BYPRODUCTS ${reference}/zsh/_fedbpt
        COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/packaging/reference.py --program $<TARGET_FILE:fedbpt> --output ${reference}
        DEPENDS fedbpt ${PROJECT_SOURCE_DIR}/packaging/reference.py ${PROJECT_SOURCE_DIR}/packaging/completion.bash.in
            ${PROJECT_SOURCE_DIR}/packaging/completion.zsh.in
        COMMENT "Writing manual pages and shell completion" VERBATIM)
    add_custom_target(fbt_reference ALL DEPENDS ${reference}/bash/fedbpt)
    install(DIRECTORY ${reference}/man1 ${reference}/man5 DESTINATION ${CMAKE_INSTALL_MANDIR})
    install(DIRECTORY ${reference}/bash/ DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(DIRECTORY ${reference}/zsh/ DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
elseif(NOT Python3_FOUND)
    message(STATUS "There is no Python 3.9: neither manual pages nor shell completion are made")
endif()

# Licences and texts; then what Python and the job scripts need, in the checkout's own places below share/fedbpt, where they find the
# program as bin/fedbpt.
set(data_folder ${CMAKE_INSTALL_DATADIR}/fedbpt)
install(FILES LICENSE README.md ARCHITECTURE.md CHANGELOG.md CITATION.cff packaging/third-party-licences.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY configs examples DESTINATION ${data_folder})
install(DIRECTORY analysis DESTINATION ${data_folder} PATTERN __pycache__ EXCLUDE PATTERN ".*_cache" EXCLUDE)
install(DIRECTORY jobs DESTINATION ${data_folder} USE_SOURCE_PERMISSIONS PATTERN __pycache__ EXCLUDE
    REGEX "/(quickstart|results)\\.sh$" EXCLUDE) # of a checkout alone
file(RELATIVE_PATH program /prefix/${data_folder}/bin /prefix/${CMAKE_INSTALL_BINDIR}/fedbpt)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/installed)
file(CREATE_LINK ${program} ${PROJECT_BINARY_DIR}/installed/fedbpt SYMBOLIC)
install(FILES ${PROJECT_BINARY_DIR}/installed/fedbpt DESTINATION ${data_folder}/bin)

# cpack -G TGZ, cpack -G DEB
set(CPACK_PACKAGE_CONTACT "the fedbpt developers")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS liblapacke) # loaded at run time
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
include(CPack)
