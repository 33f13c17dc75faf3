#pragma once

#include <string>

namespace sgdscope {

/// Name and version of the linear algebra library that LibTorch uses, and the kernels it chose.
std::string BlasDescription();

/// Debian 12's OpenBLAS takes recent processors for one of 2004, and is then seven times slower. It
/// reads OPENBLAS_CORETYPE when it is loaded; so this sets it and starts the program again, once,
/// where that helps. A value that the user has set stays. `argv`: main's.
void RestartWithFastBlas(char** argv);

}  // namespace sgdscope
