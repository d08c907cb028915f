# What find_package(tulle) needs: library, headers, targets, and the packages the library itself links.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS tulle EXPORT tulleTargets COMPONENT development)
install(DIRECTORY tulle DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h"
        PATTERN "*-inl.h" EXCLUDE PATTERN "test_*.h" EXCLUDE PATTERN "*_testing.h" EXCLUDE PATTERN "oracle.h" EXCLUDE
        PATTERN "reference.h" EXCLUDE)
install(FILES ${PROJECT_BINARY_DIR}/include/tulle/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tulle
        COMPONENT development)

if(TARGET tulle_mpi)  # where bin/tulle looks for it
  install(TARGETS tulle_mpi LIBRARY DESTINATION lib/tulle COMPONENT program)
endif()

set(destination ${CMAKE_INSTALL_LIBDIR}/cmake/tulle)
install(EXPORT tulleTargets NAMESPACE tulle:: DESTINATION ${destination} COMPONENT development)
configure_package_config_file(cmake/tulleConfig.cmake.in ${PROJECT_BINARY_DIR}/tulleConfig.cmake
                              INSTALL_DESTINATION ${destination})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tulleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tulleConfig.cmake ${PROJECT_BINARY_DIR}/tulleConfigVersion.cmake
        DESTINATION ${destination} COMPONENT development)
