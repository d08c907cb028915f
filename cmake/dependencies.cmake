# Every third-party library, found first among the installed packages. Where each may be included is checked by
# tools/check_layers.py.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(hwy REQUIRED CONFIG)
find_package(ZLIB REQUIRED)
find_package(LibArchive REQUIRED)
find_path(STB_INCLUDE_DIR stb/stb_image.h REQUIRED)  # headers alone, in /usr/include
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
add_library(tulle_random123 INTERFACE)
target_include_directories(tulle_random123 SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})

if(TULLE_ONEDNN)
  find_package(dnnl REQUIRED CONFIG)
  find_package(OpenMP REQUIRED COMPONENTS CXX)  # Debian's oneDNN runs on it
  set(tulle_dnnl DNNL::dnnl OpenMP::OpenMP_CXX)
  set(tulle_other_gemm gemm_plain.cpp)
else()
  set(tulle_other_gemm gemm_onednn.cpp)
endif()

if(PROJECT_IS_TOP_LEVEL)
  find_package(CLI11 REQUIRED)
  pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)
  include(CTest)
  if(BUILD_TESTING)
    find_package(GTest REQUIRED)
    find_package(Eigen3 REQUIRED NO_MODULE)
  endif()
endif()
