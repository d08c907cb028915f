#include "failures.h"

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <new>
#include <system_error>

#include "exit_codes.h"
#include "say.h"
#include "tulle/base/error.h"

namespace tulle::cli {
namespace {

int refuse(const Error& error) {
  complain(error.what());
  return exit_code(error.kind());
}

}  // namespace

void complain(std::string_view message) { say(fmt::format("tulle: {}\n", message)); }

int report_exception() {
  try {
    throw;
  } catch (const Error& error) {
    return refuse(error);
  } catch (const std::bad_alloc&) {
    complain("out of memory");
    return kMemory;
  } catch (const std::filesystem::filesystem_error& error) {
    return refuse(system_error(error.code().value(), error.path1().string(), "access"));
  } catch (const std::system_error& error) {  // of fmt::print: results that cannot be printed
    return refuse(system_error(error.code().value(), "standard output", "write"));
  } catch (const std::exception& error) {
    complain(fmt::format("internal error: {}; please report this", escape_control(error.what())));
    return kInternal;
  }
}

}  // namespace tulle::cli
