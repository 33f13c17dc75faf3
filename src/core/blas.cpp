#include "core/blas.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

#include "core/torch.h"

namespace sgdscope {
namespace {

/// The text that an OpenBLAS function returns; "" if LibTorch uses another library.
std::string AskOpenBlas(const char* function) {
  using Function = char* (*)();
  const auto call = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, function));
  return call == nullptr ? "" : call();
}

}  // namespace

std::string BlasDescription() {
  const std::string config = AskOpenBlas("openblas_get_config");
  if (config.empty()) return at::get_mkl_version();
  return config + ", kernels " + AskOpenBlas("openblas_get_corename");
}

void RestartWithFastBlas(char** argv) {
#if defined(__x86_64__)
  constexpr const char* kVariable = "OPENBLAS_CORETYPE";
  if (std::getenv(kVariable) != nullptr) return;
  if (AskOpenBlas("openblas_get_corename") != "Prescott") return;
  if (!__builtin_cpu_supports("avx2")) return;
  setenv(kVariable, __builtin_cpu_supports("avx512f") ? "SKYLAKEX" : "HASWELL", 1);
  execv("/proc/self/exe", argv);  // if this fails, the program goes on, slowly
#else
  (void)argv;
#endif
}

}  // namespace sgdscope
