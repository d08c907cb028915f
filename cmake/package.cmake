# cpack -G DEB: tulle (command line, MPI engine) and libtulle-dev (library and headers), from what install.cmake installs.
set(CPACK_PACKAGE_VENDOR "tulle")
set(CPACK_PACKAGE_CONTACT "the tulle maintainers <maintainers@tulle.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "truly sparse neural networks: only the connections that exist")
set(CPACK_PACKAGE_DESCRIPTION
    "Trains, runs, prunes and exports sparse neural networks whose memory and time grow with their connections; finds sparse
weights by iterative hard thresholding; over one core or many machines.")
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME tulle)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libtulle-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libfmt-dev, libhwy-dev, zlib1g-dev, libarchive-dev, nlohmann-json3-dev, libtomlplusplus-dev, libxxhash-dev, pkg-config")
if(TULLE_ONEDNN)
  string(APPEND CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS ", libdnnl-dev, ocl-icd-opencl-dev")
endif()
set(CPACK_STRIP_FILES ON)
include(CPack)
